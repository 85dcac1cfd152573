"""The stream of a job's events (server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Header, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from api.access.caller import Reader
from api.context import ContextOf
from api.job_routes import JobId, find_job
from api.problems import ServiceError
from api.schemas import problem_responses
from api.watching import Watch
from worker.events import events_of
from worker.jobs import JobState
from worker.redis_connection import key

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

_KEEP_ALIVE_S = 15.0
_EVENT_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,10}")
_BATCH = 500
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Neither caches nor proxies may hold events back."""

_EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"enum": ["changed", "completed"]},
        "id": {"type": "string", "pattern": _EVENT_ID.pattern},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
"""What an event of the stream is (`itemSchema` of OpenAPI 3.2, which the framework writes for streams, too)."""

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="`id` of the last event that was received; the stream goes on after it."),
]


@router.get(
    "/events",
    # Not the class of the stream: FastAPI takes that for its own kind of generator route, which cannot answer 204.
    response_class=Response,
    responses={
        200: {
            "description": "One event per change of state, stage or progress, from the first on: `event` is `changed`, "
            "or `completed` for the last, after which the stream ends; `id` orders them; `data` is JSON with `state`, "
            "`stage`, `progress`, `attempt`, `cancel_requested` and `problem` (the code, when failed). A comment every "
            "15 s keeps the connection open.",
            "content": {"text/event-stream": {"itemSchema": _EVENT}},
        },
        204: {"description": "The last event was received before; do not connect again."},
        **problem_responses(404, 422, 503),
    },
    summary="Follow a job, event by event",
)
async def events(
    request: Request, context: ContextOf, caller: Reader, job_id: JobId, last_event_id: LastEventId = None
) -> Response:
    """Stream what happened to a job and what happens to it, until it has ended."""
    await anyio.to_thread.run_sync(find_job, context, caller, job_id)
    if last_event_id is not None and not _EVENT_ID.fullmatch(last_event_id):
        raise ServiceError(
            "invalid-option",
            "The option is not on offer",
            "the id is none of an event",
            expected="an id that the stream gave",
            found=ascii(last_event_id[:80]),
            field="Last-Event-ID",
        )
    if last_event_id is not None and await _is_last(context.watch, job_id, last_event_id):
        return Response(status_code=204)
    return EventSourceResponse(_stream(request, context.watch, job_id, last_event_id), headers=_HEADERS)


async def _is_last(watch: Watch, job_id: str, event_id: str) -> bool:
    """Tell whether nothing comes after an event any more."""
    latest = await watch.redis.xrevrange(events_of(job_id), count=1)
    return bool(latest) and _is_final(latest[0][1]) and _order(event_id) >= _order(latest[0][0])


async def _stream(request: Request, watch: Watch, job_id: str, after: str | None) -> AsyncIterator[bytes]:
    """Give the events after one, as they come, in the form they are sent in."""
    position, sent_at = after or "0-0", time.monotonic()
    with watch.waiter(job_id) as waiter:
        while True:
            waiter.rearm()
            entries = await watch.redis.xrange(events_of(job_id), min=f"({position}", count=_BATCH)
            for position, fields in entries:
                yield _encoded(position, fields)
                sent_at = time.monotonic()
                if _is_final(fields):
                    return
            if len(entries) == _BATCH:
                continue
            if watch.closing or (not entries and not await watch.redis.exists(key("job", job_id))):
                return
            if not await waiter.sleep(sent_at + _KEEP_ALIVE_S - time.monotonic()):
                yield KEEPALIVE_COMMENT
                sent_at = time.monotonic()


def _encoded(event_id: str, fields: Mapping[str, str]) -> bytes:
    """Give an event as it is sent."""
    data: dict[str, Any] = {
        "state": fields["state"],
        "stage": fields["stage"] or None,
        "progress": float(fields["progress"]),
        "attempt": int(fields["attempt"]),
        "cancel_requested": fields["cancel_requested"] == "1",
        "problem": fields["problem"] or None,
    }
    name = "completed" if _is_final(fields) else "changed"
    return format_sse_event(data_str=json.dumps(data), event=name, id=event_id)


def _is_final(fields: Mapping[str, str]) -> bool:
    """Tell whether an event is the last of its job."""
    return JobState(fields["state"]).finished


def _order(event_id: str) -> tuple[int, int]:
    """Give an event id as something that can be compared."""
    moment, number = event_id.split("-")
    return int(moment), int(number)
