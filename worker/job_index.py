"""The sets that follow the job records: who waits, who runs, who ended, whose is what."""

from __future__ import annotations

from typing import Any

from worker.jobs import JobRecord, JobState
from worker.redis_connection import key
from worker.routes import QueueName

JOBS = key("jobs")
"""Sorted set of all ids by sequence."""
RUNNING = key("running")
"""Set of the ids that run."""
FINISHED = key("finished")
"""Sorted set of the ids that ended and still have their files, by end time."""


def waiting_in(queue: QueueName) -> str:
    """Give the key of the sorted set of the ids that wait in a queue, by sequence."""
    return key("queue") if queue == "cpu" else key("queue", queue)


def jobs_of(owner: str | None) -> str:
    """Give the key of the sorted set of one owner's ids, by sequence; None names the one of all jobs."""
    return JOBS if owner is None else key("jobs", owner)


def active_of(owner: str) -> str:
    """Give the key of the set of one owner's ids that wait or run."""
    return key("active", owner)


def follow(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
    """Queue the commands that bring the sets in line with a change of a record.

    Args:
        pipe: the transaction that stores the change.
        old: the record before, or None when it is new.
        new: the record after, or None when it is erased.
    """
    record = new or old
    if record is None:
        return
    _place(pipe, JOBS, record, new is not None)
    _place(pipe, waiting_in(record.queue), record, new is not None and new.state is JobState.QUEUED)
    if record.owner is not None:
        _place(pipe, jobs_of(record.owner), record, new is not None)
        _belong(pipe, active_of(record.owner), record.id, new is not None and not new.state.finished)
    _belong(pipe, RUNNING, record.id, new is not None and new.state is JobState.RUNNING)
    if new is not None and new.state.finished and new.state is not JobState.EXPIRED and new.finished_at is not None:
        pipe.zadd(FINISHED, {new.id: new.finished_at.timestamp()})
    else:
        pipe.zrem(FINISHED, record.id)


def _place(pipe: Any, name: str, record: JobRecord, present: bool) -> None:  # noqa: ANN401
    """Put a record's id into a sorted set at its sequence number, or take it out."""
    if present:
        pipe.zadd(name, {record.id: record.sequence})
    else:
        pipe.zrem(name, record.id)


def _belong(pipe: Any, name: str, job_id: str, present: bool) -> None:  # noqa: ANN401
    """Put an id into a set or take it out."""
    if present:
        pipe.sadd(name, job_id)
    else:
        pipe.srem(name, job_id)
