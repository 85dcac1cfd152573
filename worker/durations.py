"""How long the latest jobs took, by bundle: the basis of estimates."""

from __future__ import annotations

from typing import Any

from worker.jobs import JobRecord, JobState
from worker.redis_connection import key

_KEPT = 50


def durations_of(bundle: str | None) -> str:
    """Give the key of the list of run times, seconds, latest first, of a bundle or (None) of all bundles together."""
    return key("durations") if bundle is None else key("durations", bundle)


def follow(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
    """Queue the commands that note how long a job took that has just succeeded.

    Args:
        pipe: the transaction that stores the change.
        old: the record before, or None when it is new.
        new: the record after, or None when it is erased.
    """
    if old is None or new is None or old.state is not JobState.RUNNING or new.state is not JobState.SUCCEEDED:
        return
    if new.started_at is None or new.finished_at is None:
        return
    seconds = round((new.finished_at - new.started_at).total_seconds(), 3)
    for name in (durations_of(new.bundle), durations_of(None)):
        pipe.lpush(name, seconds)
        pipe.ltrim(name, 0, _KEPT - 1)
