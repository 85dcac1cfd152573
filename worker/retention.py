"""How long what belongs to a finished job is kept: first its files go, later its record.

Keys: `expiring` a sorted set of the finished jobs whose submitter set a time, by that time; `forgettable` a sorted set of
the expired jobs, by when they expired. The service's own limit is applied to all finished jobs by their end, so that
changing it also concerns jobs that ended before.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from worker.jobs import JobRecord, JobState
from worker.redis_connection import key

if TYPE_CHECKING:
    from worker.artifacts import ArtifactStore
    from worker.job_store import JobStore
    from worker.settings import Settings

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


def apply(store: JobStore, artifacts: ArtifactStore, settings: Settings) -> None:
    """Erase what has outlived its time; any number of workers may do so at once.

    Args:
        store: the records.
        artifacts: the files.
        settings: the times.
    """
    # Imported here, as the lawful steps need the store, which needs the follower above.
    from worker import lifecycle

    now = store.now()
    ids = store.ids_before(EXPIRING, now)
    if settings.retention_s is not None:
        ids += store.finished_before(now - timedelta(seconds=settings.retention_s))
    for job_id in dict.fromkeys(ids):
        # The record says so first: whoever still sees the files finds them, and those left by a crash are swept up.
        if lifecycle.expire(store, job_id) is not None:
            artifacts.erase(job_id)
    if settings.forget_after_s is not None:
        for job_id in store.ids_before(FORGETTABLE, now - timedelta(seconds=settings.forget_after_s)):
            store.remove(job_id)
            artifacts.erase(job_id)
