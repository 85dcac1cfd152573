"""How many jobs of one API key may wait or run."""

from __future__ import annotations

from api.access.caller import Caller
from api.context import Context
from api.idempotency import claim_lost
from api.problems import ServiceError
from worker.idempotency import Claim, ClaimLostError
from worker.job_store import TooManyActiveError
from worker.jobs import JobRecord


def check_job_cap(context: Context, caller: Caller) -> None:
    """Refuse a caller who is at the cap, before an upload is read; the cap itself is kept by `create_within_cap`.

    Raises:
        ServiceError: when the caller is at the cap.
        RedisError: when Redis is away.
    """
    if caller.key_id is not None and context.store.active_count(caller.key_id) >= context.settings.max_active_per_key:
        raise _too_many(context.settings.max_active_per_key)


def create_within_cap(context: Context, record: JobRecord, claim: Claim | None = None) -> JobRecord:
    """Store a new record unless its owner is at the cap, and give it with its sequence number.

    Raises:
        ServiceError: when the owner is at the cap, or the claim on the idempotency key was lost.
        RedisError: when Redis is away.
    """
    cap = context.settings.max_active_per_key
    try:
        return context.store.create(record, max_active=cap, claim=claim)
    except TooManyActiveError:
        raise _too_many(cap) from None
    except ClaimLostError:
        raise claim_lost() from None


def _too_many(cap: int) -> ServiceError:
    """Give the error for a caller at the cap."""
    return ServiceError(
        "too-many-jobs",
        "This key has too many jobs",
        "as many jobs of this API key wait or run as may",
        expected=f"fewer than {cap} jobs that wait or run",
        found=f"{cap}",
        hint="wait until one has ended, or cancel one",
        retry_after_s=10,
    )
