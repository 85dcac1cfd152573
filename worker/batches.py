"""Batches: several jobs that were submitted together.

The record of a batch says how many ears came and which were refused. Which jobs it has is told by a set that follows
the job records (`worker.batch_members`), so a batch never names a job that is erased. Keys: `batch:<id>` the record as
JSON; `batches` and `batches:of:<owner>` sorted sets of batch ids by order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from worker.batch_members import EMPTIED, members_of
from worker.job_store import JobStore
from worker.jobs import JobFailure, JobRecord
from worker.redis_connection import connect, key


class BatchRecord(BaseModel):
    """What is known about a batch beside its jobs; never changed.

    Attributes:
        id: random name.
        sequence: place in the order of arrival; unique.
        created_at: when it was accepted.
        owner: id of the API key it was submitted with; None when access is open.
        total: how many ears came.
        refused: why an ear was not taken, by its place.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    sequence: int = 0
    created_at: datetime
    owner: str | None = None
    total: int
    refused: dict[int, JobFailure]


class BatchStore:
    """The batches of one service.

    Args:
        redis_url: address of the server.
        jobs: the job records.
    """

    def __init__(self, redis_url: str, jobs: JobStore) -> None:
        """Prepare the connection; it is made when first used."""
        self._redis = connect(redis_url)
        self._jobs = jobs

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def create(self, batch: BatchRecord, jobs: Sequence[JobRecord], max_active: int | None = None) -> BatchRecord:
        """Store a batch and all its jobs in one transaction, so that there is all of it or nothing.

        Raises:
            TooManyActiveError: when the owner would have more jobs that wait or run than `max_active`.
        """
        placed = batch.model_copy(update={"sequence": int(self._redis.incr(key("batches", "sequence")))})

        def store_batch(pipe: Any) -> None:  # noqa: ANN401
            pipe.set(_batch(placed.id), placed.model_dump_json())
            for name in _lists(placed.owner):
                pipe.zadd(name, {placed.id: placed.sequence})

        self._jobs.create_all(jobs, store_batch, max_active)
        return placed

    def get(self, batch_id: str) -> BatchRecord | None:
        """Give a batch, or None when there is none of that id or all its jobs are gone."""
        if not self._redis.exists(members_of(batch_id)):
            return None
        raw = self._redis.get(_batch(batch_id))
        return None if raw is None else BatchRecord.model_validate_json(raw)

    def jobs(self, batch_id: str) -> dict[int, JobRecord]:
        """Give the jobs of a batch that are still there, by their place."""
        placed = self._redis.zrange(members_of(batch_id), 0, -1, withscores=True)
        records = ((int(place), self._jobs.get(job_id)) for job_id, place in placed)
        return {place: record for place, record in records if record is not None}

    def page(self, limit: int, before: int | None, owner: str | None) -> list[BatchRecord]:
        """Give batches, latest first.

        Args:
            limit: how many at most.
            before: give only those of a smaller sequence number.
            owner: give only those of this API key; None for all.
        """
        highest = "+inf" if before is None else f"({before}"
        ids = self._redis.zrevrangebyscore(_lists(owner)[-1], highest, "-inf", start=0, num=limit)
        found = (self.get(batch_id) for batch_id in ids)
        return [batch for batch in found if batch is not None]

    def forget_empty(self) -> None:
        """Erase the batches whose last job is gone; called now and then."""
        for batch_id in self._redis.smembers(EMPTIED):
            raw = self._redis.get(_batch(batch_id))
            owner = None if raw is None else BatchRecord.model_validate_json(raw).owner
            with self._redis.pipeline(transaction=True) as pipe:
                # Jobs enter a batch at its creation only, so one that is empty stays so.
                if not self._redis.exists(members_of(batch_id)):
                    pipe.delete(_batch(batch_id))
                    for name in _lists(owner):
                        pipe.zrem(name, batch_id)
                    pipe.srem(EMPTIED, batch_id)
                pipe.execute()


def _batch(batch_id: str) -> str:
    """Give the key of a record."""
    return key("batch", batch_id)


def _lists(owner: str | None) -> list[str]:
    """Give the keys of the sets that a batch of an owner stands in, the owner's own last."""
    return [key("batches")] if owner is None else [key("batches"), key("batches", "of", owner)]
