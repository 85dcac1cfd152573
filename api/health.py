"""Routes of health, open without a key: does the process live, has it started, are jobs taken and worked on.

Checks run at most about once a second however many probes come, and answer within a second even when Redis does not.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, cast

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError

from api.schemas import Check, Health, Readiness
from model.bundle import find_bundle
from model.errors import BundleError
from worker import redis_errors
from worker.aliases import AliasStore
from worker.disk import disk_space
from worker.presence import BROKEN, LOADED, Presence, WorkerState
from worker.redis_connection import connect, key
from worker.routes import QueueName, queues_in_use
from worker.settings import Settings

router = APIRouter(tags=["health"])

_WORD_TIMEOUT_S = 0.3
"""For connecting and for each answer of Redis."""
_TIMEOUT_S = 0.8
"""For all checks together."""
_KEEP_S = 1.0


class HealthChecks:
    """The checks of one process, and what they found last.

    Args:
        settings: names Redis, the data folder and the default bundle.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare a connection of its own, with short timeouts and without retries."""
        self._settings = settings
        self._redis = connect(settings.required_redis_url(), _WORD_TIMEOUT_S)
        self._aliases = AliasStore(self._redis)
        self._presence = Presence(self._redis, settings.stale_after_s, settings.deaf_after_s)
        self._lock = asyncio.Lock()
        # A look that hangs keeps its thread; further ones must not take more.
        self._limiter = anyio.CapacityLimiter(1)
        self._found: Readiness | None = None
        self._found_at = 0.0
        self.started = False

    async def look(self) -> Readiness:
        """Give what was found a moment ago, or look again."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found_at > _KEEP_S:
                self._found = await self._look()
                self._found_at = time.monotonic()
                self.started = self.started or self._found.ready
            return self._found

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    async def _look(self) -> Readiness:
        """Run all checks, in a thread that is left behind when it takes too long."""
        found: Readiness | None = None
        with anyio.move_on_after(_TIMEOUT_S):
            found = await anyio.to_thread.run_sync(self._check_all, abandon_on_cancel=True, limiter=self._limiter)
        if found is None:
            checks = {"redis": Check(ok=False, reason="does not answer in time")}
            found = Readiness(ready=False, checks=checks, queues=check_queues(self._settings, None))
        return found

    def _check_all(self) -> Readiness:
        """Run all checks."""
        redis = self._check_redis()
        workers: list[WorkerState] | None = None
        bundle = self._settings.bundle
        if redis.ok:
            try:
                workers = self._presence.workers()
                bundle = self._aliases.default_bundle(self._settings)
            except RedisError as error:
                redis = Check(ok=False, reason=redis_errors.reason(error))
        checks = {
            "redis": redis,
            "disk": check_disk(self._settings),
            "worker": check_workers(workers),
            "bundle": check_bundle(bundle, self._settings.checkpoints, workers),
        }
        ready = all(check.ok for check in checks.values())
        return Readiness(ready=ready, checks=checks, queues=check_queues(self._settings, workers))

    def _check_redis(self) -> Check:
        """Write to Redis."""
        try:
            self._redis.set(key("canary"), "1", px=1000)
        except RedisError as error:
            return Check(ok=False, reason=redis_errors.reason(error))
        return Check(ok=True, reason="takes writes")


def check_disk(settings: Settings) -> Check:
    """Look for room on the disk of the data folder."""
    try:
        space = disk_space(settings.data_dir, settings.min_free_bytes)
    except OSError:
        return Check(ok=False, reason="cannot be looked at")
    if space.nearly_full:
        return Check(ok=False, reason=f"{space.free} bytes are free, {space.floor} must be")
    return Check(ok=True, reason="has room")


def check_workers(workers: list[WorkerState] | None) -> Check:
    """Look for a worker that hears; those that beat without hearing are named."""
    if workers is None:
        return _UNKNOWN
    hearing = sum(worker.consuming for worker in workers)
    reason = f"{len(workers)} worker{_beats(len(workers))}, {hearing} consume{'s' if hearing == 1 else ''}"
    deaf = [worker.name for worker in workers if not worker.consuming]
    return Check(ok=hearing > 0, reason=reason + (f"; deaf: {', '.join(deaf)}" if deaf else ""))


def check_queues(settings: Settings, workers: list[WorkerState] | None) -> dict[str, Check]:
    """Look, for each queue that jobs can come to, for a worker that takes from it."""
    return {
        queue: check_workers(None if workers is None else [worker for worker in workers if worker.serves(queue)])
        for queue in queues_in_use(settings.gpu_bundles)
    }


def check_bundle(name: str, checkpoints: Path | None, workers: list[WorkerState] | None) -> Check:
    """Look for the default bundle: here, and loaded by a worker, which verified it.

    A worker that has loaded another bundle will load this one with its next message: the default was switched just now.
    """
    try:
        find_bundle(name, checkpoints)
    except BundleError as error:
        return Check(ok=False, reason=error.detail)
    if workers is None:
        return _UNKNOWN
    states = [worker.facts for worker in workers if worker.facts.get("bundle") == name]
    if any(facts.get("bundle_state") == LOADED for facts in states):
        return Check(ok=True, reason=f"{name} is loaded")
    broken = sorted({facts.get("bundle_problem", "") for facts in states if facts.get("bundle_state") == BROKEN})
    if broken:
        return Check(ok=False, reason=f"{name} cannot be loaded: {', '.join(broken)}")
    if any(worker.facts.get("bundle_state") == LOADED for worker in workers):
        return Check(ok=True, reason=f"{name} is about to be loaded")
    return Check(ok=False, reason=f"no worker has loaded {name} yet")


@router.get("/livez", summary="Does the process live?")
async def livez() -> Health:
    """Answer whenever the process can."""
    return Health()


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Jobs are not taken or not worked on; `checks` says why."}},
    summary="Are jobs taken and worked on?",
)
async def readyz(
    request: Request,
    queue: Annotated[
        QueueName | None, Query(description="Ask about one queue: 503 also when no worker takes from it.")
    ] = None,
) -> Response:
    """Check that Redis takes writes, the disk has room, a worker hears, and the default bundle is loaded.

    A queue without a worker does not make the whole service unready: its jobs are taken and wait, perhaps for a worker
    that is started because they do.
    """
    found = await _checks_of(request).look()
    if queue is not None:
        served = found.queues.get(queue, Check(ok=False, reason="no job can come to this queue"))
        found = Readiness(ready=found.ready and served.ok, checks=found.checks, queues={queue: served})
    return _answer(found)


@router.get(
    "/startupz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not ready even once yet; `checks` says why."}},
    summary="Has the service started?",
)
async def startupz(request: Request) -> Response:
    """Answer well once this process has found the service ready, whatever came after."""
    checks = _checks_of(request)
    found = await checks.look()
    return _answer(found.model_copy(update={"ready": True}) if checks.started else found)


def _answer(readiness: Readiness) -> Response:
    """Give the response to a probe."""
    status = 200 if readiness.ready else 503
    return JSONResponse(readiness.model_dump(), status, {"Cache-Control": "no-store"})


def _checks_of(request: Request) -> HealthChecks:
    """Give the checks of the application that handles a request."""
    return cast("HealthChecks", request.app.state.health)


_UNKNOWN = Check(ok=False, reason="unknown while Redis is away")


def _beats(count: int) -> str:
    """Give the ending of `1 worker beats` and `2 workers beat`."""
    return " beats" if count == 1 else "s beat"
