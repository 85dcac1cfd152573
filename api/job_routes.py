"""Routes of jobs: submit, look, list, remove."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from api.access.caller import Caller, Reader, Submitter
from api.access.job_cap import check_job_cap
from api.context import Context, ContextOf
from api.idempotency import REPLAYED, Ticket, fingerprint_of, key_of, ticket_for
from api.job_form import IF_NONE_MATCH, SUBMISSION
from api.prefer import parse_prefer
from api.problems import ServiceError
from api.request_id import request_id_of
from api.schemas import Job, JobPage, problem_responses
from api.storage import require_space
from api.submission import accept, check_upload
from api.uploads import Upload, receive_upload
from api.waiting import MAX_WAIT_S, wait_until
from worker import lifecycle
from worker.jobs import JobRecord
from worker.retention import expiry_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="Id of the job.", max_length=64)]
_RETRY_AFTER = {"Retry-After": "1"}
# Checks read whole images into memory; more at once would only compete for it.
CHECKS = anyio.CapacityLimiter(2)


@router.post(
    "",
    status_code=202,
    response_model=Job,
    responses={
        200: {"model": Job, "description": "The job has ended within the time of `Prefer: wait`."},
        **problem_responses(400, 408, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra=dict(SUBMISSION),
    summary="Submit an ear",
)
async def submit(request: Request, context: ContextOf, caller: Submitter) -> Response:
    """Take an image, check all of it, and queue the job.

    The answer names the job in `Location`; ask there until its state is final, or say `Prefer: wait=30`.
    """
    name = key_of(request)
    prefer = parse_prefer(request.headers.getlist("prefer"))
    if name is None:
        # With a key it may be the answer to an earlier request that is wanted.
        await anyio.to_thread.run_sync(check_job_cap, context, caller)
    settings = context.settings
    require_space(settings, request)
    settings.uploads_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = settings.uploads_dir / f"{uuid.uuid4()}.part"
    try:
        upload = await receive_upload(request, target, settings.max_upload_bytes)
        fingerprint = fingerprint_of(upload.image_sha256, upload.fields)
        async with ticket_for(context.claims, caller.key_id, "jobs", name, fingerprint) as ticket:
            job_id = ticket.made_id or await _accept(request, context, caller, upload, ticket)
    finally:
        target.unlink(missing_ok=True)
    seen = await wait_until(
        request,
        context.watch,
        job_id,
        lambda: _look(context, caller, job_id, request),
        lambda seen: seen.finished,
        prefer.wait_s or 0,
    )
    ended = seen.finished and prefer.wait_s is not None
    headers = {"Location": f"{_base(request)}/{job_id}", **({} if ended else _RETRY_AFTER)}
    if ticket.made_id is not None:
        headers |= REPLAYED
    applied = prefer.applied(at_once=not ended)
    if applied is not None:
        headers["Preference-Applied"] = applied
    return Response(seen.body, 200 if ended else 202, headers, "application/json")


async def _accept(request: Request, context: Context, caller: Caller, upload: Upload, ticket: Ticket) -> str:
    """Check and queue an upload and give the id of the job."""
    submission = await anyio.to_thread.run_sync(
        check_upload, upload.image, upload.fields, context.settings, context.models, limiter=CHECKS
    )
    record = await anyio.to_thread.run_sync(
        accept, context, submission, upload.image, caller, request_id_of(request), ticket.claim
    )
    return record.id


@router.get("", response_model=JobPage, responses=problem_responses(422, 503), summary="List jobs")
def list_jobs(
    request: Request,
    context: ContextOf,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100, description="How many jobs at most.")] = 20,
    before: Annotated[int | None, Query(ge=0, description="Continue a list; taken from `next`.")] = None,
) -> JobPage:
    """Give jobs, latest first, page by page."""
    records = context.store.page(limit, before, caller.owner)
    jobs = [_job(context, record, request) for record in records]
    more = len(records) == limit and context.store.page(1, records[-1].sequence, caller.owner)
    return JobPage(jobs=jobs, next=f"{_base(request)}?limit={limit}&before={records[-1].sequence}" if more else None)


@router.get(
    "/{job_id}",
    response_model=Job,
    responses={304: {"description": "Nothing has changed."}, **problem_responses(404, 422, 503)},
    openapi_extra={"parameters": [IF_NONE_MATCH]},
    summary="Look at a job",
)
async def show(
    request: Request,
    context: ContextOf,
    caller: Reader,
    job_id: JobId,
    wait: Annotated[
        int,
        Query(
            ge=0,
            le=MAX_WAIT_S,
            description="Seconds to wait: with `If-None-Match` until the job differs from that representation, without "
            "until it has ended.",
        ),
    ] = 0,
) -> Response:
    """Give a job; with `If-None-Match` 304 while nothing has changed, and `Retry-After` while it is not finished."""
    conditional = "if-none-match" in request.headers

    def enough(seen: _Look) -> bool:
        return seen.finished or (conditional and not matches(request, seen.tag))

    seen = await wait_until(
        request, context.watch, job_id, lambda: _look(context, caller, job_id, request), enough, wait
    )
    headers = {"ETag": seen.tag, "Cache-Control": "no-cache", **({} if seen.finished else _RETRY_AFTER)}
    if conditional and matches(request, seen.tag):
        return Response(status_code=304, headers=headers)
    return Response(seen.body, 200, headers, "application/json")


@router.delete(
    "/{job_id}",
    response_model=None,
    responses={
        202: {"model": Job, "description": "The job is canceled, or will be as soon as its worker has stopped."},
        204: {"description": "The finished job, its record and all its files are erased."},
        **problem_responses(404, 503),
    },
    summary="Cancel or erase a job",
)
def remove(request: Request, context: ContextOf, caller: Submitter, job_id: JobId) -> Response:
    """Cancel a job that is not finished; erase one that is."""
    find_job(context, caller, job_id)
    canceled = _cancel(context, job_id)
    if canceled is not None:
        return JSONResponse(_json(_job(context, canceled, request)), 202, _RETRY_AFTER)
    # The record goes first: whoever still sees it finds the files, and files left by a crash here are swept up.
    context.store.remove(job_id)
    context.artifacts.erase(job_id)
    return Response(status_code=204)


@router.post(
    "/{job_id}/cancel",
    response_model=Job,
    responses={
        202: {"model": Job, "description": "The worker is told; the state is `canceled` once it has stopped."},
        **problem_responses(404, 503),
    },
    response_description="The job has ended, by this request or before; a result is left as it is.",
    summary="Cancel a job",
)
def cancel(request: Request, context: ContextOf, caller: Submitter, job_id: JobId) -> Response:
    """Cancel a job that is not finished; one that is stays as it is. Sent again, it changes nothing more."""
    record = _cancel(context, job_id) if find_job(context, caller, job_id) else None
    record = record or find_job(context, caller, job_id)
    status, headers = (200, None) if record.state.finished else (202, _RETRY_AFTER)
    return JSONResponse(_json(_job(context, record, request)), status, headers)


def _cancel(context: Context, job_id: str) -> JobRecord | None:
    """Cancel a job and give its record; None when it has ended."""
    canceled = lifecycle.request_cancel(context.store, job_id)
    if canceled is not None and canceled.state.finished:
        context.artifacts.erase(job_id)
    return canceled


def find_job(context: Context, caller: Caller, job_id: str) -> JobRecord:
    """Give the record of a job of this caller.

    Raises:
        ServiceError: when there is none; a job of somebody else is answered in the same words.
    """
    record = context.store.get(job_id)
    if record is None or not caller.may_see(record):
        raise no_such_job()
    return record


def no_such_job() -> ServiceError:
    """Give the error for an id that names no job of the caller."""
    return ServiceError("no-such-job", "There is no such job", "no job has this id, or it was erased")


def matches(request: Request, tag: str) -> bool:
    """Tell whether the client has the representation with this entity tag (RFC 9110, section 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in given.split(","))


@dataclass(frozen=True)
class _Look:
    """A job as it is answered: its JSON, the entity tag of that, and whether it has ended."""

    body: bytes
    tag: str
    finished: bool


def _look(context: Context, caller: Caller, job_id: str, request: Request) -> _Look:
    """Look at a job.

    Raises:
        ServiceError: when there is none of that id.
    """
    record = find_job(context, caller, job_id)
    body = bytes(JSONResponse(_json(_job(context, record, request))).body)
    return _Look(body, f'"{hashlib.sha256(body).hexdigest()}"', record.state.finished)


def _job(context: Context, record: JobRecord, request: Request) -> Job:
    """Give what is said about a record."""
    position = None if record.state.finished else context.store.queue_position(record.id)
    delivery = None if record.webhook is None else context.outbox.delivery(record.id)
    expires_at = expiry_of(record, context.settings.retention_s)
    estimate = context.estimator.of(record, position)
    return Job.of(record, position, _base(request), estimate, delivery, expires_at)


def _base(request: Request) -> str:
    """Give the address of the job collection behind whatever prefix a proxy adds."""
    return f"{request.scope.get('root_path', '').rstrip('/')}/v1/jobs"


def _json(job: Job) -> dict[str, Any]:
    """Give a job as JSON values."""
    return job.model_dump(mode="json", by_alias=True)
