"""What is counted about jobs, and the follower that counts it in the transaction of each change of a record."""

from __future__ import annotations

from typing import Any

from worker.counters import counter, histogram
from worker.jobs import JobRecord, JobState

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_STAGE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

ACCEPTED = counter("cochlear_jobs_accepted", "Jobs accepted.")
ENDED = counter("cochlear_jobs_ended", "Jobs that ended, by final state; expired ones ended before, too.", "state")
FAILED = counter("cochlear_job_failures", "Jobs that failed, by the code of their problem.", "code")
ATTEMPTS = counter("cochlear_job_attempts", "Attempts begun by workers.")
REQUEUED = counter("cochlear_jobs_requeued", "Attempts that ended with the job back in the queue.", "reason")
UPLOADED = counter("cochlear_uploaded_bytes", "Bytes of the images of accepted jobs, as sent.")
VERDICTS = counter("cochlear_quality_verdicts", "Verdicts of the quality checks of results.", "check", "verdict")
WAIT = histogram("cochlear_queue_wait_seconds", "Time from the queue to the attempt, once for each attempt.", _SECONDS)
RUN = histogram("cochlear_run_seconds", "Time of the attempts that ended a job, by its state.", _SECONDS, "state")
STAGE = histogram("cochlear_stage_seconds", "Time of each stage of attempts that succeeded.", _STAGE_SECONDS, "stage")


def follow(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
    """Queue what a change of a record adds to the counts.

    Args:
        pipe: the transaction that stores the change.
        old: the record before, or None when it is new.
        new: the record after, or None when it is erased.
    """
    if new is None:
        return
    if old is None:
        ACCEPTED.add(pipe)
        UPLOADED.add(pipe, by=new.input_bytes)
    else:
        _follow_attempt(pipe, old, new)
        if new.state.finished and new.state is not old.state:
            _follow_end(pipe, old, new)


def _follow_attempt(pipe: Any, old: JobRecord, new: JobRecord) -> None:  # noqa: ANN401
    """Count an attempt that begins, or one that ends without ending the job."""
    if new.state is JobState.RUNNING and new.lease != old.lease:
        ATTEMPTS.add(pipe)
        if old.state is JobState.QUEUED and new.started_at is not None:
            WAIT.observe(pipe, (new.started_at - (old.queued_at or old.created_at)).total_seconds())
    if old.state is JobState.RUNNING and new.state is JobState.QUEUED:
        REQUEUED.add(pipe, "worker-lost" if new.attempt == old.attempt else "worker-stopped")


def _follow_end(pipe: Any, old: JobRecord, new: JobRecord) -> None:  # noqa: ANN401
    """Count a job that ended or expired."""
    ENDED.add(pipe, new.state.value)
    if new.state is JobState.FAILED and new.failure is not None:
        FAILED.add(pipe, new.failure.code)
    if old.state is JobState.RUNNING and new.started_at is not None and new.finished_at is not None:
        RUN.observe(pipe, (new.finished_at - new.started_at).total_seconds(), new.state.value)
    if new.state is JobState.SUCCEEDED:
        for stage, seconds in new.stage_s.items():
            STAGE.observe(pipe, seconds, stage)
        for check, verdict in new.verdicts.items():
            VERDICTS.add(pipe, check, verdict)
