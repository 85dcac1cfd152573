"""When a waiting job will start and a job will end, by what the latest jobs took."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from worker import job_index
from worker.durations import durations_of
from worker.jobs import JobRecord, JobState
from worker.presence import serves
from worker.redis_connection import connect, key
from worker.routes import QueueName

_GRID_S = 5
"""Estimates are whole multiples of this, so that a look a moment later finds the same."""


@dataclass(frozen=True)
class Estimate:
    """When a job is thought to start and end; None where there is nothing to base it on."""

    start_at: datetime | None = None
    end_at: datetime | None = None


@dataclass(frozen=True)
class _Basis:
    """What an estimate rests on: the time, typical run times in seconds, and what the workers do."""

    now: datetime
    own_s: float | None
    any_s: float | None
    workers: int
    running: Sequence[JobRecord]


class Estimator:
    """Estimates for the jobs of one service.

    Args:
        redis_url: address of the server.
        stale_after_s: seconds without a sign of life after which a worker does not count.
    """

    def __init__(self, redis_url: str, stale_after_s: float) -> None:
        """Prepare the connection; it is made when first used."""
        self._redis = connect(redis_url)
        self._stale_after_s = stale_after_s

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def of(self, record: JobRecord, queue_position: int | None) -> Estimate:
        """Estimate a job.

        Typical is the median of the latest 50 jobs that succeeded: of the job's bundle for its own run and for those
        that run, of all bundles for each job ahead. The jobs ahead go, in order, to the worker that is free first. A
        running job that has taken longer than typical is taken to end at any moment, and gets no estimate of its own.

        Args:
            record: the job.
            queue_position: its place in the queue, 1 for the next.
        """
        if record.state.finished:
            return Estimate()
        basis = self._basis(record)
        if basis.workers == 0:
            return Estimate()
        if record.state is JobState.RUNNING:
            return Estimate(None, _end_of_running(record, basis))
        wait_s = None if queue_position is None else _wait_s(basis, queue_position - 1)
        if wait_s is None:
            return Estimate()
        end = None if basis.own_s is None else _on_grid(basis.now, wait_s + basis.own_s)
        return Estimate(_on_grid(basis.now, wait_s), end)

    def _basis(self, record: JobRecord) -> _Basis:
        """Read what an estimate rests on; of workers and runs, those that the queue of the job may wait for."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.lrange(durations_of(record.bundle), 0, -1)
            pipe.lrange(durations_of(None), 0, -1)
            pipe.zrange(key("workers"), 0, -1, withscores=True)
            pipe.smembers(job_index.RUNNING)
            time, own, any_bundle, workers, running = pipe.execute()
        now = datetime.fromtimestamp(time[0] + time[1] / 1e6, UTC)
        raws = self._redis.mget([key("job", job_id) for job_id in running]) if running else []
        live = [name for name, beat in workers if beat >= now.timestamp() - self._stale_after_s]
        serving = set(self._serving(live, record.queue))
        runs = [JobRecord.model_validate_json(raw) for raw in raws if raw is not None]
        return _Basis(
            now,
            _typical(own),
            _typical(any_bundle),
            len(serving),
            [run for run in runs if run.queue == record.queue or (run.lease or "").rpartition(":")[0] in serving],
        )

    def _serving(self, workers: Sequence[str], queue: QueueName) -> list[str]:
        """Give those of some workers that take jobs from a queue."""
        with self._redis.pipeline(transaction=False) as pipe:
            for name in workers:
                pipe.hget(key("worker", name), "queues")
            answers = pipe.execute()
        return [
            name for name, text in zip(workers, answers, strict=True) if serves({"queues": text} if text else {}, queue)
        ]


def _typical(durations: Sequence[str]) -> float | None:
    """Give the median of run times."""
    return median(map(float, durations)) if durations else None


def _end_of_running(record: JobRecord, basis: _Basis) -> datetime | None:
    """Give when a running job is thought to end, unless that is past."""
    if record.started_at is None or basis.own_s is None:
        return None
    end = record.started_at + timedelta(seconds=basis.own_s)
    return _on_grid(end, 0.0) if end > basis.now else None


def _wait_s(basis: _Basis, ahead: int) -> float | None:
    """Give the seconds until a worker has got to the jobs ahead and is free."""
    if basis.any_s is None:
        return None
    left = [
        max(0.0, basis.any_s - (basis.now - record.started_at).total_seconds())
        for record in basis.running
        if record.started_at is not None
    ]
    free = [0.0] * max(0, basis.workers - len(left)) + sorted(left)[-basis.workers :]
    heapq.heapify(free)
    for _ in range(ahead):
        heapq.heapreplace(free, free[0] + basis.any_s)
    return free[0]


def _on_grid(base: datetime, after_s: float) -> datetime:
    """Give a moment, rounded up to the grid."""
    return datetime.fromtimestamp(math.ceil((base.timestamp() + after_s) / _GRID_S) * _GRID_S, UTC)
