"""The outbox of webhooks in Redis: what is to be told to whom, and how far that is.

A message is queued in the very transaction that changes the job's record, so a job that ends always has its message,
whatever dies afterwards. Keys: `outbox:<job id>` the list of a job's messages that are not yet delivered, oldest first;
`delivery:<job id>` a hash of how the delivery stands; `outbox` a sorted set of the jobs that have messages, by the time
of the next try. Whoever sends takes a job out of reach of others for a while by moving that time (a lease).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from worker.jobs import JobRecord, JobState
from worker.redis_connection import connect, key

DEFAULT_EVENTS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED)
EVENTS = (JobState.RUNNING, *DEFAULT_EVENTS, JobState.EXPIRED)
"""States whose beginning can be told."""

_DUE = key("outbox")

_CLAIM = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1)
if #due == 0 then return false end
if redis.call('EXISTS', ARGV[3] .. due[1]) == 0 then redis.call('ZREM', KEYS[1], due[1]) return false end
redis.call('ZADD', KEYS[1], ARGV[2], due[1])
return due[1]
"""
"""Gives the job that is due first and moves it `ARGV[2]` away, in one step."""

_SETTLE = """
local head = redis.call('LINDEX', KEYS[2], 0)
if not head or cjson.decode(head).id ~= ARGV[2] then return 0 end
for place = 5, #ARGV, 2 do
  if ARGV[place + 1] == '' then redis.call('HDEL', KEYS[3], ARGV[place])
  else redis.call('HSET', KEYS[3], ARGV[place], ARGV[place + 1]) end
end
if ARGV[4] == 'all' then redis.call('DEL', KEYS[2])
elseif ARGV[4] == 'one' then redis.call('LPOP', KEYS[2]) end
if redis.call('LLEN', KEYS[2]) == 0 then redis.call('ZREM', KEYS[1], ARGV[1])
else redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1]) end
return 1
"""
"""Notes how a try went; does nothing when the message is no longer there, so an erased job stays erased."""


class Message(BaseModel):
    """One thing to be told.

    Attributes:
        id: name of the message, the same at every try.
        type: kind of event, such as `job.succeeded`.
        at: when it happened.
        record: the job as it was then, without its landmarks.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    type: str
    at: datetime
    record: JobRecord


@dataclass(frozen=True)
class Delivery:
    """How the telling of one job stands.

    Attributes:
        waiting: messages that are not delivered yet.
        attempts: tries of the message that is, or was last, at hand.
        delivered_at: when a message was last delivered.
        last_status: HTTP status of the last try; None when there was no answer.
        last_error: why the last try failed without an answer.
        given_up_at: when a message was last given up.
    """

    waiting: int
    attempts: int
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None
    given_up_at: datetime | None


@dataclass(frozen=True)
class Outcome:
    """How one try went.

    Attributes:
        status: HTTP status, or None.
        error: why there was no answer, or None.
        delivered: whether the receiver took the message.
        final: whether the message is done with, delivered or given up.
        gone: whether the receiver wants no further message of this job.
        next_try_in_s: seconds to the next try, when not final.
    """

    status: int | None = None
    error: str | None = None
    delivered: bool = False
    final: bool = False
    gone: bool = False
    next_try_in_s: float = 0.0


def follow(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
    """Queue the message that a change of state is due, or erase what an erased job left.

    Args:
        pipe: the transaction that stores the change.
        old: the record before, or None when it is new.
        new: the record after, or None when it is erased.
    """
    if new is None:
        if old is not None and old.webhook is not None:
            pipe.delete(_outbox(old.id), _delivery(old.id))
            pipe.zrem(_DUE, old.id)
        return
    changed = old is None or old.state is not new.state
    if new.webhook is None or not changed or new.state not in new.webhook_events:
        return
    message = Message(
        id=f"msg_{uuid.uuid4().hex}",
        type=f"job.{new.state.value}",
        at=new.updated_at,
        record=new.model_copy(update={"landmarks": None, "lease": None}),
    )
    pipe.rpush(_outbox(new.id), message.model_dump_json())
    # NX: a time that is set already is a lease or a pause between tries.
    pipe.zadd(_DUE, {new.id: new.updated_at.timestamp()}, nx=True)


class Outbox:
    """The sending side of the outbox; any number of processes may use it at once.

    Args:
        redis_url: address of the server.
    """

    def __init__(self, redis_url: str) -> None:
        """Prepare the connection; it is made when first used."""
        self._redis = connect(redis_url)
        self._claim = self._redis.register_script(_CLAIM)
        self._settle = self._redis.register_script(_SETTLE)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def take(self, lease_s: float) -> tuple[Message, int] | None:
        """Give a message that is due and the number of its tries so far; None when there is none.

        Args:
            lease_s: seconds for which no other process is given a message of the same job.
        """
        now = self._now()
        job_id = self._claim(keys=[_DUE], args=[now, now + lease_s, _outbox("")])
        if not job_id:
            return None
        raw = self._redis.lindex(_outbox(job_id), 0)
        if raw is None:
            return None
        message = Message.model_validate_json(raw)
        tried, count = self._redis.hmget(_delivery(job_id), "message", "attempts")
        return message, int(count or 0) if tried == message.id else 0

    def settle(self, message: Message, attempts: int, outcome: Outcome) -> None:
        """Note how a try went.

        Args:
            message: what was sent.
            attempts: tries of it, this one included.
            outcome: how it went.
        """
        now = self._now()
        fields = {
            "message": message.id,
            "attempts": str(attempts),
            "last_status": "" if outcome.status is None else str(outcome.status),
            "last_error": outcome.error or "",
        }
        if outcome.final:
            fields["delivered_at" if outcome.delivered else "given_up_at"] = str(now)
        done = "all" if outcome.gone else "one" if outcome.final else "none"
        job_id = message.record.id
        next_try = now if outcome.final else now + outcome.next_try_in_s
        self._settle(
            keys=[_DUE, _outbox(job_id), _delivery(job_id)],
            args=[job_id, message.id, next_try, done, *(word for pair in fields.items() for word in pair)],
        )

    def delivery(self, job_id: str) -> Delivery:
        """Give how the telling of a job stands."""
        with self._redis.pipeline() as pipe:
            pipe.hgetall(_delivery(job_id))
            pipe.llen(_outbox(job_id))
            found, waiting = pipe.execute()
        return Delivery(
            waiting=int(waiting),
            attempts=int(found.get("attempts", 0)),
            delivered_at=_moment(found.get("delivered_at")),
            last_status=int(found["last_status"]) if "last_status" in found else None,
            last_error=found.get("last_error"),
            given_up_at=_moment(found.get("given_up_at")),
        )

    def _now(self) -> float:
        """Give the time of the Redis server, seconds since 1970."""
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6


def _moment(text: str | None) -> datetime | None:
    """Give the time that was stored as seconds since 1970."""
    return None if text is None else datetime.fromtimestamp(float(text), UTC)


def _outbox(job_id: str) -> str:
    """Give the key of a job's messages."""
    return key("outbox", job_id)


def _delivery(job_id: str) -> str:
    """Give the key of the state of a job's delivery."""
    return key("delivery", job_id)
