"""What happened to a job, event by event, and the call that wakes whoever waits for a change.

`events:<id>` is a Redis stream of the job's changes of state, stage and progress; its entry ids are the event ids. The
channel `CHANGES` carries the id of every job that changed. Both are written in the transaction that changes the record,
so that no change is without its event and no event without its change.
"""

from __future__ import annotations

from typing import Any

from worker.jobs import JobRecord, JobState
from worker.redis_connection import key

CHANGES = key("changes")
"""Channel of the ids of jobs that changed."""
QUEUE_MOVED = "*"
"""What `CHANGES` carries when places in the queue changed."""

_MAX_EVENTS = 10_000
"""Events kept of one job: more than a run that writes twice a second makes within an hour."""


def events_of(job_id: str) -> str:
    """Give the key of the stream of a job's events."""
    return key("events", job_id)


def follow(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
    """Queue the event of a change and wake those who wait; erase the events with the record or its files.

    Args:
        pipe: the transaction that stores the change.
        old: the record before, or None when it is new.
        new: the record after, or None when it is erased.
    """
    record = new or old
    if record is None or (old is not None and new is not None and _seen(old) == _seen(new)):
        return
    name = events_of(record.id)
    if new is None or new.state is JobState.EXPIRED:
        pipe.delete(name)
    if new is not None:
        pipe.xadd(name, _fields(new), maxlen=_MAX_EVENTS, approximate=True)
    pipe.publish(CHANGES, record.id)
    if _waits(old) != _waits(new):
        pipe.publish(CHANGES, QUEUE_MOVED)


def _seen(record: JobRecord) -> tuple[object, ...]:
    """Give what of a record is worth an event."""
    return record.state, record.stage, record.progress, record.attempt, record.cancel_requested


def _waits(record: JobRecord | None) -> bool:
    """Tell whether a record has a place in the queue."""
    return record is not None and record.state is JobState.QUEUED


def _fields(record: JobRecord) -> dict[str, str]:
    """Give an event as the fields of a stream entry."""
    return {
        "state": record.state.value,
        "stage": record.stage or "",
        "progress": str(record.progress),
        "attempt": str(record.attempt),
        "cancel_requested": "1" if record.cancel_requested else "",
        "problem": record.failure.code if record.failure is not None else "",
    }
