"""The sets of the jobs of each batch, which follow the job records."""

from __future__ import annotations

from typing import Any

from worker.jobs import JobRecord
from worker.redis_connection import key

EMPTIED = key("batches", "emptied")
"""Set of the batches that lost a job and may be empty."""


def members_of(batch_id: str) -> str:
    """Give the key of the sorted set of a batch's job ids, by their place in it."""
    return key("batch", batch_id, "jobs")


def follow(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
    """Queue the commands that put a new job into its batch, and take an erased one out.

    Args:
        pipe: the transaction that stores the change.
        old: the record before, or None when it is new.
        new: the record after, or None when it is erased.
    """
    if old is None and new is not None and new.batch is not None:
        pipe.zadd(members_of(new.batch), {new.id: new.batch_index or 0})
    elif new is None and old is not None and old.batch is not None:
        pipe.zrem(members_of(old.batch), old.id)
        pipe.sadd(EMPTIED, old.batch)
