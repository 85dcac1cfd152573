"""What the workers say about themselves in Redis: that they live, that they hear, what they hold.

Keys: `workers` and `consumed`, sorted sets of worker names by the last sign of life and the last message consumed;
`worker:<name>`, a hash of further facts that is forgotten with its worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker import job_index
from worker.jobs import JobRecord
from worker.redis_connection import key
from worker.routes import QueueName

_WORKERS = key("workers")
_CONSUMED = key("consumed")
_FORGET_AFTER_S = 3600

LOADING, LOADED, BROKEN = "loading", "loaded", "broken"
"""What may have become of the default bundle in a worker."""
_LOADING_S = 600.0
"""For how long loading excuses a worker from messages: a child that died of it says nothing more."""


@dataclass(frozen=True)
class WorkerState:
    """One worker that beat lately.

    Attributes:
        name: host and process id.
        consumed_s: seconds since it consumed a message; None when it has not yet.
        busy: whether it holds a job that beats, or loads a bundle; it takes no messages meanwhile.
        consuming: whether it is known to hear: busy, or consumed lately.
        facts: what it noted about itself; see `Presence.note`.
    """

    name: str
    consumed_s: float | None
    busy: bool
    consuming: bool
    facts: Mapping[str, str]

    def serves(self, queue: QueueName) -> bool:
        """Tell whether it takes jobs from a queue."""
        return serves(self.facts, queue)


@dataclass(frozen=True)
class Presence:
    """Reads and writes what workers say.

    Attributes:
        redis: a connection.
        stale_after_s: seconds after which a sign of life is forgotten.
        deaf_after_s: seconds without a message after which an idle worker counts as deaf.
    """

    redis: Any
    stale_after_s: float
    deaf_after_s: float

    def now(self) -> float:
        """Give the time of the Redis server, seconds since 1970."""
        seconds, microseconds = self.redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def note_consumed(self, worker: str) -> None:
        """Note that a worker has just consumed a message."""
        self.redis.zadd(_CONSUMED, {worker: self.now()})

    def note(self, worker: str, facts: Mapping[str, str | int]) -> None:
        """Keep facts about a worker: `queues`, `bundle`, `bundle_state`, `bundle_problem`, `device`, memory."""
        when = {"bundle_at": str(self.now())} if "bundle_state" in facts else {}
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.hset(key("worker", worker), mapping={**facts, **when})
            pipe.expire(key("worker", worker), _FORGET_AFTER_S)
            pipe.execute()

    def forget(self, worker: str) -> None:
        """Take back all that this class notes about a worker, because it stops."""
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.zrem(_CONSUMED, worker)
            pipe.delete(key("worker", worker))
            pipe.execute()

    def consumed_at(self, worker: str) -> float:
        """Give when a worker consumed a message, seconds since 1970; 0 when it never did."""
        return float(self.redis.zscore(_CONSUMED, worker) or 0.0)

    def is_busy(self, worker: str) -> bool:
        """Tell whether a worker holds a job that beats, or loads a bundle."""
        return worker in self._holders() or _is_loading(self.redis.hgetall(key("worker", worker)), self.now())

    def child_of(self, worker: str) -> int | None:
        """Give the process id of a worker's pool child; None before it said so."""
        found = self.redis.hget(key("worker", worker), "child_pid")
        return None if found is None else int(found)

    def workers(self) -> list[WorkerState]:
        """Give the workers that beat lately, by name."""
        now = self.now()
        self.redis.zremrangebyscore(_CONSUMED, "-inf", now - _FORGET_AFTER_S)
        names = sorted(self.redis.zrangebyscore(_WORKERS, now - self.stale_after_s, "+inf"))
        holders = self._holders()
        with self.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.zscore(_CONSUMED, name)
                pipe.hgetall(key("worker", name))
            answers = pipe.execute()
        states = []
        for name, at, facts in zip(names, answers[::2], answers[1::2], strict=True):
            age = None if at is None else now - float(at)
            busy = name in holders or _is_loading(facts, now)
            hears = busy or (age is not None and age <= self.deaf_after_s)
            states.append(WorkerState(name, age, busy, hears, facts))
        return states

    def _holders(self) -> set[str]:
        """Give the names of the workers that hold a job that beats; a lease begins with the worker's name."""
        running = list(self.redis.smembers(job_index.RUNNING))
        raws = self.redis.mget([key("job", job_id) for job_id in running]) if running else []
        records = [JobRecord.model_validate_json(raw) for raw in raws if raw is not None]
        held = [(record.id, record.lease) for record in records if record.lease is not None]
        beats = self.redis.mget([key("beat", job_id, lease) for job_id, lease in held]) if held else []
        return {lease.rpartition(":")[0] for (_, lease), beat in zip(held, beats, strict=True) if beat is not None}


def serves(facts: Mapping[str, str], queue: QueueName) -> bool:
    """Tell whether a worker that noted these facts takes jobs from a queue; one that names none knows but `cpu`."""
    return queue in facts.get("queues", "cpu").split(",")


def _is_loading(facts: Mapping[str, str], now: float) -> bool:
    """Tell whether a worker has begun to load a bundle a while ago at most."""
    return facts.get("bundle_state") == LOADING and now - float(facts.get("bundle_at", 0.0)) < _LOADING_S
