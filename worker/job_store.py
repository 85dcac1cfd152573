"""Job records in Redis: compare-and-set changes, the order of the queue, signs of life.

Keys, all under one prefix: `job:<id>` the record as JSON; `beat:<id>:<lease>` sign of life of one attempt, with an
expiry (one key for each, so that an attempt left behind cannot hide its successor's); `workers` a sorted set of worker
names by last sign of life. Whatever else must be true of a record (`FOLLOWERS`: the sets of `worker.job_index` and
others) changes with it in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import WatchError

from worker import batch_members, durations, events, idempotency, job_index, metrics, retention, webhooks
from worker.idempotency import Claim
from worker.jobs import JobRecord, JobState
from worker.patience import patiently
from worker.redis_connection import connect, key
from worker.routes import QUEUES, QueueName

_TRIES = 50
_WORKERS = key("workers")

Follower = Callable[[Any, JobRecord | None, JobRecord | None], None]
"""Queues, into the transaction that changes a record, what follows from the change: `(pipe, old, new)`."""

FOLLOWERS: tuple[Follower, ...] = (
    job_index.follow,
    metrics.follow,
    retention.follow,
    webhooks.follow,
    batch_members.follow,
    events.follow,
    durations.follow,
    idempotency.follow,
)
"""What follows a change of a record; called once per try, in this order."""


class TooManyActiveError(Exception):
    """An owner has as many jobs that wait or run as it may."""


class JobStore:
    """The job records of one service.

    Args:
        redis_url: address of the server.
        stale_after_s: seconds after which a sign of life is forgotten.
        patience_s: how long `get`, `change` and `now` wait for a server that is away; 0 raises at once.
    """

    def __init__(self, redis_url: str, stale_after_s: float = 30.0, patience_s: float = 0.0) -> None:
        """Prepare the connection; it is made when first used."""
        self._redis = connect(redis_url)
        self.stale_after_s = stale_after_s
        self._patience_s = patience_s

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def now(self) -> datetime:
        """Give the time of the Redis server, the one clock all processes share."""
        seconds, microseconds = patiently(self._redis.time, self._patience_s)
        return datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)

    def create(self, record: JobRecord, max_active: int | None = None, claim: Claim | None = None) -> JobRecord:
        """Store a new record at the end of the queue and give it with its sequence number; see `create_all`."""
        return self.create_all([record], max_active=max_active, claim=claim)[0]

    def create_all(
        self,
        records: Sequence[JobRecord],
        also: Callable[[Any], None] = lambda _: None,
        max_active: int | None = None,
        claim: Claim | None = None,
        made_id: str | None = None,
    ) -> list[JobRecord]:
        """Store new records at the end of the queue in one transaction and give them with their sequence numbers.

        A reply that is lost does not leave the outcome open: the first record is looked for, and all are stored if it
        is not there.

        Args:
            records: of one owner, in the order in which they are to be worked on.
            also: queues what is to be stored with them.
            max_active: cap on the jobs of the owner that wait or run, these included; None for no cap.
            claim: on the idempotency key of the request; settled in the same transaction.
            made_id: what the claim is settled with; None for the id of the first record.

        Raises:
            TooManyActiveError: when the owner would have more. The count is watched, so that the cap holds however
                many are created at once.
            ClaimLostError: when the claim is not held any more; then nothing is stored.
        """
        # Numbers that are drawn and not used leave a gap, which does no harm.
        last = int(self._redis.incrby(key("sequence"), len(records)))
        first = last - len(records) + 1
        placed = [record.model_copy(update={"sequence": first + place}) for place, record in enumerate(records)]
        name, owner = _job_key(placed[0].id), placed[0].owner
        with self._redis.pipeline(transaction=True) as pipe:
            for _ in range(_TRIES):
                pipe.watch(name)
                if pipe.exists(name):
                    return placed
                if owner is not None and max_active is not None:
                    pipe.watch(job_index.active_of(owner))
                    if pipe.scard(job_index.active_of(owner)) + len(placed) > max_active:
                        raise TooManyActiveError
                if claim is not None:
                    claim.watch(pipe)
                pipe.multi()
                for record in placed:
                    self._write(pipe, None, record)
                also(pipe)
                if claim is not None:
                    claim.settle(pipe, made_id or placed[0].id)
                try:
                    pipe.execute()
                except WatchError:
                    # redis-py raises it for a connection that broke, too: was it stored or not?
                    continue
                return placed
        raise RuntimeError(f"job {placed[0].id}: the record could not be stored in {_TRIES} tries")

    def active_count(self, owner: str) -> int:
        """Give the number of jobs of an owner that wait or run."""
        return int(self._redis.scard(job_index.active_of(owner)))

    def get(self, job_id: str) -> JobRecord | None:
        """Give a record, or None when there is none of that id."""
        raw = patiently(lambda: self._redis.get(_job_key(job_id)), self._patience_s)
        return None if raw is None else JobRecord.model_validate_json(raw)

    def change(self, job_id: str, edit: Callable[[JobRecord], JobRecord | None]) -> JobRecord | None:
        """Change a record by compare-and-set.

        When the connection breaks while the change is sent, the record tells whether it was made: the change is neither
        lost nor made twice, unless somebody else changed the record in between; then `edit` decides on that record.

        Args:
            job_id: the job.
            edit: gives the new record from the present one, or None to leave it; may be called several times.

        Returns:
            The record as stored, or None when the job is not there or was left alone.
        """
        sent: JobRecord | None = None

        def attempt() -> tuple[bool, JobRecord | None]:
            nonlocal sent
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.watch(_job_key(job_id))
                raw = pipe.get(_job_key(job_id))
                if sent is not None and raw == sent.model_dump_json():
                    return True, sent
                old = None if raw is None else JobRecord.model_validate_json(raw)
                new = None if old is None else edit(old)
                if new is None:
                    return True, None
                sent = new.model_copy(update={"updated_at": self.now()})
                pipe.multi()
                self._write(pipe, old, sent)
                try:
                    pipe.execute()
                except WatchError:
                    # redis-py raises it for a connection that broke, too.
                    return False, None
                return True, sent

        for _ in range(_TRIES):
            done, record = patiently(attempt, self._patience_s)
            if done:
                return record
        raise RuntimeError(f"job {job_id}: the record kept changing under {_TRIES} tries")

    def remove(self, job_id: str) -> bool:
        """Erase the record of a finished job; tell whether it was there and finished."""
        name = _job_key(job_id)
        with self._redis.pipeline(transaction=True) as pipe:
            for _ in range(_TRIES):
                pipe.watch(name)
                raw = pipe.get(name)
                record = None if raw is None else JobRecord.model_validate_json(raw)
                if record is None or not record.state.finished:
                    return False
                pipe.multi()
                self._write(pipe, record, None)
                try:
                    pipe.execute()
                except WatchError:
                    continue
                return True
        raise RuntimeError(f"job {job_id}: the record kept changing under {_TRIES} tries")

    def page(self, limit: int, before: int | None = None, owner: str | None = None) -> list[JobRecord]:
        """Give records, latest first.

        Args:
            limit: how many at most.
            before: give only those of a smaller sequence number.
            owner: give only those of this API key; None for all.
        """
        highest = "+inf" if before is None else f"({before}"
        ids = self._redis.zrevrangebyscore(job_index.jobs_of(owner), highest, "-inf", start=0, num=limit)
        raws = self._redis.mget([_job_key(job_id) for job_id in ids]) if ids else []
        return [JobRecord.model_validate_json(raw) for raw in raws if raw is not None]

    def queue_position(self, job_id: str) -> int | None:
        """Give the place in its queue, 1 for the job that is next; None when it does not wait."""
        with self._redis.pipeline(transaction=False) as pipe:
            for queue in QUEUES:
                pipe.zrank(job_index.waiting_in(queue), job_id)
            ranks = pipe.execute()
        return next((int(rank) + 1 for rank in ranks if rank is not None), None)

    def queue_length(self, queue: QueueName | None = None) -> int:
        """Give the number of jobs that wait in a queue; None for all."""
        return sum(int(self._redis.zcard(job_index.waiting_in(name))) for name in QUEUES if queue in (None, name))

    def first_queued(self, count: int, queue: QueueName) -> list[JobRecord]:
        """Give the records at the head of a queue."""
        records = [self.get(job_id) for job_id in self._redis.zrange(job_index.waiting_in(queue), 0, count - 1)]
        return [record for record in records if record is not None]

    def running_ids(self) -> list[str]:
        """Give the ids of the running jobs."""
        return sorted(self._redis.smembers(job_index.RUNNING))

    def finished_before(self, moment: datetime) -> list[str]:
        """Give the ids of jobs that ended before a moment and still have their files."""
        return self.ids_before(job_index.FINISHED, moment)

    def ids_before(self, name: str, moment: datetime) -> list[str]:
        """Give the ids of a sorted set by time that stand before a moment, earliest first."""
        return list(self._redis.zrangebyscore(name, "-inf", moment.timestamp()))

    def beat(self, job_id: str, lease: str) -> None:
        """Leave a sign of life of the worker that holds a job."""
        self._redis.set(key("beat", job_id, lease), "1", px=int(self.stale_after_s * 1000))

    def is_abandoned(self, record: JobRecord) -> bool:
        """Tell whether a running job's worker has stopped beating.

        A record changed a moment ago is not abandoned, whatever the beat: the holder may not have beaten yet.
        """
        if record.state is not JobState.RUNNING or self._redis.exists(key("beat", record.id, record.lease or "")):
            return False
        return (self.now() - record.updated_at).total_seconds() > self.stale_after_s

    def beat_worker(self, worker: str) -> None:
        """Leave a sign of life of a worker process."""
        self._redis.zadd(_WORKERS, {worker: self.now().timestamp()})
        self._redis.zremrangebyscore(_WORKERS, "-inf", self.now().timestamp() - 3600)

    def forget_worker(self, worker: str) -> None:
        """Take back a worker's sign of life, because it stops."""
        self._redis.zrem(_WORKERS, worker)

    def live_workers(self) -> list[str]:
        """Give the names of the workers that beat lately."""
        return list(self._redis.zrangebyscore(_WORKERS, self.now().timestamp() - self.stale_after_s, "+inf"))

    @staticmethod
    def _write(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
        """Queue the commands that store or erase a record, and those of all followers."""
        if new is not None:
            pipe.set(_job_key(new.id), new.model_dump_json())
        elif old is not None:
            pipe.delete(_job_key(old.id))
        for follow in FOLLOWERS:
            follow(pipe, old, new)


def _job_key(job_id: str) -> str:
    """Give the key of a record."""
    return key("job", job_id)
