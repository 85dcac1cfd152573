"""The lawful steps of a job, each one compare-and-set change of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from worker.job_store import JobStore
from worker.jobs import JobFailure, JobRecord, JobState, ResultFile


def claim(store: JobStore, job_id: str, lease: str, max_attempts: int) -> JobRecord | None:
    """Begin an attempt; None when the job is gone, finished, held by an attempt or out of attempts.

    An attempt whose worker died is ended by the reconciler alone: a message that comes twice is no proof of a death.
    """
    now = store.now()

    def edit(old: JobRecord) -> JobRecord | None:
        if _holds(old, lease):
            return old  # the claim was made already, and its reply lost
        if old.state is not JobState.QUEUED or old.cancel_requested or old.attempt >= max_attempts:
            return None
        return old.changed(
            state=JobState.RUNNING, stage="load", progress=0.0, attempt=old.attempt + 1, started_at=now, lease=lease
        )

    return store.change(job_id, edit)


def report_progress(store: JobStore, job_id: str, lease: str, stage: str, progress: float) -> JobRecord | None:
    """Note stage and progress; None when this attempt no longer holds the job."""

    def edit(old: JobRecord) -> JobRecord | None:
        return old.changed(stage=stage, progress=progress) if _holds(old, lease) else None

    return store.change(job_id, edit)


def succeed(
    store: JobStore,
    job_id: str,
    lease: str | None,
    files: Mapping[str, ResultFile],
    warnings: Sequence[str],
    *,
    stage_s: Mapping[str, float] | None = None,
    verdicts: Mapping[str, str] | None = None,
) -> JobRecord | None:
    """End a job well; None when this attempt no longer holds it.

    Args:
        store: the records.
        job_id: the job.
        lease: the attempt that holds it.
        files: the published files.
        warnings: remarks of the run.
        stage_s: seconds by stage.
        verdicts: verdicts of the quality checks by name.
    """
    now = store.now()

    def edit(old: JobRecord) -> JobRecord | None:
        if not _holds(old, lease):
            return None
        return old.changed(
            state=JobState.SUCCEEDED,
            stage=None,
            progress=1.0,
            finished_at=now,
            files=dict(files),
            warnings=tuple(dict.fromkeys([*old.warnings, *warnings])),
            stage_s=dict(stage_s or {}),
            verdicts=dict(verdicts or {}),
            lease=None,
        )

    return store.change(job_id, edit)


def fail(store: JobStore, job_id: str, lease: str | None, failure: JobFailure) -> JobRecord | None:
    """End a job badly; None when this attempt no longer holds it."""
    now = store.now()

    def edit(old: JobRecord) -> JobRecord | None:
        if not _holds(old, lease):
            return None
        return old.changed(state=JobState.FAILED, finished_at=now, failure=failure, lease=None)

    return store.change(job_id, edit)


def request_cancel(store: JobStore, job_id: str) -> JobRecord | None:
    """Cancel a waiting job at once, or ask the worker of a running one to stop; None when gone or finished."""
    now = store.now()

    def edit(old: JobRecord) -> JobRecord | None:
        if old.state is JobState.QUEUED:
            return _canceled(old, now)
        return old.changed(cancel_requested=True) if old.state is JobState.RUNNING else None

    return store.change(job_id, edit)


def confirm_cancel(store: JobStore, job_id: str, lease: str | None) -> JobRecord | None:
    """End a running job that was asked to stop; None when this attempt no longer holds it."""
    now = store.now()

    def edit(old: JobRecord) -> JobRecord | None:
        return _canceled(old, now) if old.cancel_requested and _holds(old, lease) else None

    return store.change(job_id, edit)


def requeue(store: JobStore, job_id: str, lease: str | None, *, count_attempt: bool) -> JobRecord | None:
    """Put a running job back at its place in the queue; None when that attempt no longer holds it.

    Args:
        store: the records.
        job_id: the job.
        lease: the attempt it is taken from.
        count_attempt: False when the worker stopped on purpose and the job is not to blame.
    """
    now = store.now()

    def edit(old: JobRecord) -> JobRecord | None:
        if not _holds(old, lease):
            return None
        attempt = old.attempt if count_attempt else old.attempt - 1
        return old.changed(
            state=JobState.QUEUED,
            stage=None,
            progress=0.0,
            attempt=attempt,
            started_at=None,
            queued_at=now,
            lease=None,
        )

    return store.change(job_id, edit)


def expire(store: JobStore, job_id: str) -> JobRecord | None:
    """Mark a finished job as expired; None when it is gone or not finished."""

    def edit(old: JobRecord) -> JobRecord | None:
        if not old.state.finished or old.state is JobState.EXPIRED:
            return None
        return old.changed(state=JobState.EXPIRED, files={}, landmarks=None)

    return store.change(job_id, edit)


def _holds(record: JobRecord, lease: str | None) -> bool:
    """Tell whether an attempt still is the one that runs the job."""
    return record.state is JobState.RUNNING and record.lease == lease


def _canceled(record: JobRecord, now: datetime) -> JobRecord:
    """Give the record of the job, canceled."""
    return record.changed(
        state=JobState.CANCELED, stage=None, finished_at=now, lease=None, landmarks=None, cancel_requested=True
    )
