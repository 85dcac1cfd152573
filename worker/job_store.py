"""Job records in Redis: compare-and-set changes, the order of the queue, signs of life.

Keys, all under one prefix: `job:<id>` the record as JSON; `jobs` and `queue` sorted sets of ids by sequence; `running`
a set of ids; `finished` a sorted set of ids by end time; `beat:<id>` who works on a job, with an expiry; `workers` a
sorted set of worker names by last sign of life. The sets follow the record in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import WatchError

from worker.jobs import JobRecord, JobState

_PREFIX = "cochlear:"
_TRIES = 50


class JobStore:
    """The job records of one service.

    Args:
        redis_url: address of the server.
        stale_after_s: seconds after which a sign of life is forgotten.
    """

    def __init__(self, redis_url: str, stale_after_s: float = 30.0) -> None:
        """Prepare the connection; it is made when first used."""
        self._redis: Any = Redis.from_url(redis_url, decode_responses=True, socket_timeout=10, socket_connect_timeout=5)
        self.stale_after_s = stale_after_s

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def now(self) -> datetime:
        """Give the time of the Redis server, the one clock all processes share."""
        seconds, microseconds = self._redis.time()
        return datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)

    def create(self, record: JobRecord) -> JobRecord:
        """Store a new record at the end of the queue and give it with its sequence number."""
        placed = record.model_copy(update={"sequence": int(self._redis.incr(_PREFIX + "sequence"))})
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(_PREFIX + "jobs", {placed.id: placed.sequence})
            self._write(pipe, placed)
            pipe.execute()
        return placed

    def get(self, job_id: str) -> JobRecord | None:
        """Give a record, or None when there is none of that id."""
        raw = self._redis.get(_job_key(job_id))
        return None if raw is None else JobRecord.model_validate_json(raw)

    def change(self, job_id: str, edit: Callable[[JobRecord], JobRecord | None]) -> JobRecord | None:
        """Change a record by compare-and-set.

        Args:
            job_id: the job.
            edit: gives the new record from the present one, or None to leave it; may be called several times.

        Returns:
            The record as stored, or None when the job is not there or was left alone.
        """
        key = _job_key(job_id)
        with self._redis.pipeline(transaction=True) as pipe:
            for _ in range(_TRIES):
                pipe.watch(key)
                raw = pipe.get(key)
                new = None if raw is None else edit(JobRecord.model_validate_json(raw))
                if new is None:
                    return None
                new = new.model_copy(update={"updated_at": self.now()})
                pipe.multi()
                self._write(pipe, new)
                try:
                    pipe.execute()
                except WatchError:
                    continue
                return new
        raise RuntimeError(f"job {job_id}: the record kept changing under {_TRIES} tries")

    def remove(self, job_id: str) -> bool:
        """Erase the record of a finished job; tell whether it was there and finished."""
        key = _job_key(job_id)
        with self._redis.pipeline(transaction=True) as pipe:
            for _ in range(_TRIES):
                pipe.watch(key)
                raw = pipe.get(key)
                if raw is None or not JobRecord.model_validate_json(raw).state.finished:
                    return False
                self._queue_removal(pipe, job_id)
                try:
                    pipe.execute()
                except WatchError:
                    continue
                return True
        raise RuntimeError(f"job {job_id}: the record kept changing under {_TRIES} tries")

    def withdraw(self, job_id: str) -> None:
        """Erase the record of a job that was never announced to a worker."""
        with self._redis.pipeline(transaction=True) as pipe:
            self._queue_removal(pipe, job_id)
            pipe.execute()

    def page(self, limit: int, before: int | None = None) -> list[JobRecord]:
        """Give records, latest first.

        Args:
            limit: how many at most.
            before: give only those of a smaller sequence number.
        """
        highest = "+inf" if before is None else f"({before}"
        ids = self._redis.zrevrangebyscore(_PREFIX + "jobs", highest, "-inf", start=0, num=limit)
        raws = self._redis.mget([_job_key(job_id) for job_id in ids]) if ids else []
        return [JobRecord.model_validate_json(raw) for raw in raws if raw is not None]

    def queue_position(self, job_id: str) -> int | None:
        """Give the place in the queue, 1 for the job that is next; None when it does not wait."""
        rank = self._redis.zrank(_PREFIX + "queue", job_id)
        return None if rank is None else int(rank) + 1

    def queue_length(self) -> int:
        """Give the number of waiting jobs."""
        return int(self._redis.zcard(_PREFIX + "queue"))

    def next_queued(self) -> JobRecord | None:
        """Give the record that is first in the queue."""
        ids = self._redis.zrange(_PREFIX + "queue", 0, 0)
        return self.get(ids[0]) if ids else None

    def running_ids(self) -> list[str]:
        """Give the ids of the running jobs."""
        return sorted(self._redis.smembers(_PREFIX + "running"))

    def finished_before(self, moment: datetime) -> list[str]:
        """Give the ids of jobs that ended before a moment and still have their files."""
        return list(self._redis.zrangebyscore(_PREFIX + "finished", "-inf", moment.timestamp()))

    def beat(self, job_id: str, lease: str) -> None:
        """Leave a sign of life of the worker that holds a job."""
        self._redis.set(_PREFIX + "beat:" + job_id, lease, px=int(self.stale_after_s * 1000))

    def is_abandoned(self, record: JobRecord) -> bool:
        """Tell whether a running job's worker has stopped beating.

        A record changed a moment ago is not abandoned, whatever the beat: the holder may not have beaten yet.
        """
        if record.state is not JobState.RUNNING or self._redis.get(_PREFIX + "beat:" + record.id) == record.lease:
            return False
        return (self.now() - record.updated_at).total_seconds() > self.stale_after_s

    def beat_worker(self, worker: str) -> None:
        """Leave a sign of life of a worker process."""
        self._redis.zadd(_PREFIX + "workers", {worker: self.now().timestamp()})
        self._redis.zremrangebyscore(_PREFIX + "workers", "-inf", self.now().timestamp() - 3600)

    def forget_worker(self, worker: str) -> None:
        """Take back a worker's sign of life, because it stops."""
        self._redis.zrem(_PREFIX + "workers", worker)

    def live_workers(self) -> list[str]:
        """Give the names of the workers that beat lately."""
        return list(self._redis.zrangebyscore(_PREFIX + "workers", self.now().timestamp() - self.stale_after_s, "+inf"))

    def check_write(self) -> None:
        """Write and forget a key, to learn whether the server takes writes.

        Raises:
            redis.exceptions.RedisError: when it does not.
        """
        self._redis.set(_PREFIX + "canary", "1", px=1000)

    @staticmethod
    def _write(pipe: Any, record: JobRecord) -> None:  # noqa: ANN401  (redis-py does not type its pipelines usefully)
        """Queue the commands that store a record and bring the sets in line with it."""
        pipe.set(_job_key(record.id), record.model_dump_json())
        if record.state is JobState.QUEUED:
            pipe.zadd(_PREFIX + "queue", {record.id: record.sequence})
        else:
            pipe.zrem(_PREFIX + "queue", record.id)
        if record.state is JobState.RUNNING:
            pipe.sadd(_PREFIX + "running", record.id)
        else:
            pipe.srem(_PREFIX + "running", record.id)
        if record.state.finished and record.state is not JobState.EXPIRED and record.finished_at is not None:
            pipe.zadd(_PREFIX + "finished", {record.id: record.finished_at.timestamp()})
        else:
            pipe.zrem(_PREFIX + "finished", record.id)

    @staticmethod
    def _queue_removal(pipe: Any, job_id: str) -> None:  # noqa: ANN401
        """Queue the commands that erase a record."""
        pipe.multi()
        pipe.delete(_job_key(job_id), _PREFIX + "beat:" + job_id)
        for name in ("jobs", "queue", "finished"):
            pipe.zrem(_PREFIX + name, job_id)
        pipe.srem(_PREFIX + "running", job_id)


def _job_key(job_id: str) -> str:
    """Give the key of a record."""
    return f"{_PREFIX}job:{job_id}"
