"""How long what belongs to a finished job is kept: first its files go, later its record.

Keys: `expiring` a sorted set of the finished jobs whose submitter set a time, by that time; `forgettable` a sorted set
of the expired jobs, by when they expired. The service's own limit is applied to all finished jobs by their end, so that
changing it also concerns jobs that ended before.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worker.jobs import JobRecord, JobState
from worker.redis_connection import key

EXPIRING = key("expiring")
FORGETTABLE = key("forgettable")


def follow(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
    """Queue the commands that keep both sets in line with a change of a record.

    Args:
        pipe: the transaction that stores the change.
        old: the record before, or None when it is new.
        new: the record after, or None when it is erased.
    """
    record = new or old
    if record is None:
        return
    expired = new is not None and new.state is JobState.EXPIRED
    wished = None if new is None or expired else expiry_of(new, None)
    if wished is not None:
        pipe.zadd(EXPIRING, {record.id: wished.timestamp()})
    else:
        pipe.zrem(EXPIRING, record.id)
    if expired:
        pipe.zadd(FORGETTABLE, {record.id: record.updated_at.timestamp()})
    else:
        pipe.zrem(FORGETTABLE, record.id)


def expiry_of(record: JobRecord, retention_s: float | None) -> datetime | None:
    """Give when a job's files are to be erased: the sooner of the submitter's and the service's time.

    Args:
        record: the job.
        retention_s: seconds for which the service keeps files; None for no limit.

    Returns:
        None while the job is not finished, and when its files are kept without limit.
    """
    limits = [limit for limit in (record.expires_in_s, retention_s) if limit is not None]
    if record.finished_at is None or not limits:
        return None
    return record.finished_at + timedelta(seconds=min(limits))
