"""What a worker does with a job id: claim, compute, publish once, and always leave a true record."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import RedisError

from model.errors import CochlearError, DeviceFailedError, DeviceMemoryError
from worker import lifecycle
from worker.artifacts import ArtifactStore
from worker.attempt import STAGES, Attempt, StopWorkError
from worker.computation import compute_results
from worker.engine import Engine
from worker.job_store import JobStore
from worker.jobs import JobFailure, JobRecord
from worker.log_context import bound
from worker.settings import Settings
from worker.storage import STORAGE_FULL, is_storage_full

_log = logging.getLogger(__name__)

TIME_LIMIT = JobFailure(
    code="time-limit",
    title="The job took too long",
    detail="the computation was stopped at its time limit",
    hint="use a smaller image or ask the operator for a higher limit",
)
OUT_OF_MEMORY = JobFailure(
    code="out-of-memory",
    title="The memory did not suffice",
    detail="the computation needed more memory than the worker has",
    hint="use a smaller image or ask the operator for more memory",
)
INTERNAL = JobFailure(
    code="internal-error",
    title="The computation failed unexpectedly",
    detail="an unforeseen error stopped the computation",
    hint="tell the operator the id of the job; the log of the worker names the cause",
)

_UNFIT = frozenset({OUT_OF_MEMORY.code, DeviceMemoryError.code, DeviceFailedError.code})
"""Failures after which a process does not compute again: its memory or its device context may not be whole."""


def run_job(
    job_id: str, lease: str, store: JobStore, artifacts: ArtifactStore, engine: Engine, settings: Settings
) -> bool:
    """Run a job if it still is to be run; a second delivery of a job that is done or under way does nothing.

    Args:
        job_id: the job.
        lease: token of this attempt.
        store: the records.
        artifacts: the files.
        engine: holds the loaded models.
        settings: limits.

    Returns:
        Whether this process may compute further jobs.
    """
    record = lifecycle.claim(store, job_id, lease, settings.max_attempts)
    if record is None:
        with bound(job_id=job_id):
            _log.info("job %s: nothing to do", job_id)
        return True
    with bound(request_id=record.request_id, traceparent=record.traceparent, job_id=job_id):
        failure = _run_claimed(record, lease, store, artifacts, engine, settings)
    return failure is None or failure.code not in _UNFIT


def _run_claimed(
    record: JobRecord,
    lease: str,
    store: JobStore,
    artifacts: ArtifactStore,
    engine: Engine,
    settings: Settings,
) -> JobFailure | None:
    """Run a job that this attempt holds; give the reason when it failed."""
    _log.info("job %s: attempt %d", record.id, record.attempt)
    try:
        with Attempt(store, record.id, lease) as attempt:
            failure = _attempt(record, attempt, store, artifacts, engine, settings)
    except SoftTimeLimitExceeded:
        # Raised at the time limit, and by the worker when a canceled run does not stop by itself.
        failure = None if _confirm_cancel(record.id, lease, store, artifacts) else TIME_LIMIT
    if failure is not None and lifecycle.fail(store, record.id, lease, failure) is not None:
        _log.warning("job %s: failed: %s", record.id, failure.code)
    return failure


def _attempt(
    record: JobRecord,
    attempt: Attempt,
    store: JobStore,
    artifacts: ArtifactStore,
    engine: Engine,
    settings: Settings,
) -> JobFailure | None:
    """Compute and publish; give the reason when it failed."""
    try:
        _segment_and_publish(record, attempt, store, artifacts, engine, settings)
    except StopWorkError as stop:
        _log.info("job %s: stopped: %s", record.id, stop)
        _confirm_cancel(record.id, attempt.lease, store, artifacts)
    except SoftTimeLimitExceeded:
        # It can come at any point, and is handled where none is left out.
        raise
    except MemoryError:
        return OUT_OF_MEMORY
    except CochlearError as error:
        return STORAGE_FULL if is_storage_full(error) else JobFailure.from_error(error)
    except RedisError as error:
        # Redis was away for longer than an attempt waits. The job is found abandoned and begun anew.
        _log.warning("job %s: left, as Redis is away: %s", record.id, type(error).__name__)
    except Exception as error:
        if is_storage_full(error):
            return STORAGE_FULL
        # The record must end; the user gets no inner detail, the log has all of it.
        _log.exception("job %s: unforeseen error", record.id)
        return INTERNAL
    return None


def _confirm_cancel(job_id: str, lease: str, store: JobStore, artifacts: ArtifactStore) -> bool:
    """End a job that was canceled, now that it has stopped; tell whether it was."""
    if lifecycle.confirm_cancel(store, job_id, lease) is None:
        return False
    artifacts.erase(job_id)
    return True


def _segment_and_publish(
    record: JobRecord,
    attempt: Attempt,
    store: JobStore,
    artifacts: ArtifactStore,
    engine: Engine,
    settings: Settings,
) -> None:
    """Compute one job and make its results visible."""
    if not artifacts.is_published(record.id):
        with artifacts.staging(record.id) as folder:
            compute_results(record, attempt, artifacts, engine, settings, folder)
            attempt.report("publish", 0.0)
            artifacts.publish(record.id, folder)
    if adopt_results(record.id, attempt.lease, store, artifacts, attempt.stage_seconds()) is not None:
        artifacts.tidy(record.id)
        _log.info("job %s: succeeded", record.id)
        return
    left = store.get(record.id)
    if left is None or (left.state.finished and not left.files):
        # Canceled or removed in the last moment: what was just published belongs to nobody.
        artifacts.erase(record.id)


def adopt_results(
    job_id: str,
    lease: str | None,
    store: JobStore,
    artifacts: ArtifactStore,
    stage_s: Mapping[str, float] | None = None,
) -> JobRecord | None:
    """End a job whose results are published, by whichever attempt; None when `lease` no longer holds it.

    Args:
        job_id: the job.
        lease: the attempt that holds it.
        store: the records.
        artifacts: the files.
        stage_s: seconds by stage; None takes what the report says, as the attempt that published is gone.
    """
    report = json.loads(artifacts.read_result(job_id, "report.json"))
    files = artifacts.describe_results(job_id)
    warnings = [str(text) for text in report.get("warnings", [])]
    if stage_s is None:
        stage_s = {name: float(seconds) for name, seconds in report["timings_s"].items() if name in STAGES}
    quality = report["quality"]
    verdicts = {"overall": str(quality["verdict"])} | {str(c["name"]): str(c["verdict"]) for c in quality["checks"]}
    return lifecycle.succeed(store, job_id, lease, files, warnings, stage_s=stage_s, verdicts=verdicts)


def worker_lost(attempts: int) -> JobFailure:
    """Give the failure of a job whose worker died as often as a job is tried."""
    return JobFailure(
        code="worker-lost",
        title="The worker died",
        detail="the process that computed the job died at every attempt",
        found=f"{attempts} attempt{'' if attempts == 1 else 's'}",
        hint="submit it again; when that fails too, tell the operator the id of the job",
    )
