"""How many jobs of one API key may wait or run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from api.access.caller import Caller
from api.context import Context
from api.problems import ServiceError
from worker.job_store import TooManyActiveError
from worker.jobs import JobRecord

T = TypeVar("T")


def check_job_cap(context: Context, caller: Caller) -> None:
    """Refuse a caller who is at the cap, before an upload is read; the cap itself is kept by `create_within_cap`.

    Raises:
        ServiceError: when the caller is at the cap.
        RedisError: when Redis is away.
    """
    if caller.key_id is not None and context.store.active_count(caller.key_id) >= context.settings.max_active_per_key:
        raise _too_many(context.settings.max_active_per_key)


def create_within_cap(context: Context, records: Sequence[JobRecord], create: Callable[[int], T]) -> T:
    """Store new records unless their owner would have too many.

    Args:
        context: the parts of the service.
        records: the records, whose images are kept already; refused ones lose them.
        create: stores them under a cap and gives what was stored.

    Raises:
        ServiceError: when the owner would have more than may be.
        RedisError: when Redis is away. Whether they were stored is not known then, so their images stay; those without
            a record are swept up.
    """
    cap = context.settings.max_active_per_key
    try:
        return create(cap)
    except TooManyActiveError:
        for record in records:
            context.artifacts.erase(record.id)
        raise _too_many(cap) from None


def _too_many(cap: int) -> ServiceError:
    """Give the error for a caller at the cap."""
    return ServiceError(
        "too-many-jobs",
        "This key has too many jobs",
        "more jobs of this API key would wait or run than may",
        expected=f"at most {cap} jobs that wait or run",
        found="more",
        hint="wait until some have ended, or cancel some",
        retry_after_s=10,
    )
