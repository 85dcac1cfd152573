"""All keys of a service at one moment, and how they get into another Redis server.

The snapshot is one script, so nothing changes while it reads (Redis runs scripts alone). It needs no file of the
server, takes the keys of this service only, and works for a server of one's own as for the embedded one. Values travel
in the format of `DUMP`, which `RESTORE` of the same or a later version of Redis takes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from model.errors import RunError
from worker.jobs import JobRecord
from worker.redis_connection import PREFIX

_PASSING = tuple(PREFIX + name for name in ("broker:", "beat:", "worker", "consumed", "canary", "rate"))
"""Beginnings of keys that tell of processes and messages of the moment; a later service has its own."""
_JOB = PREFIX + "job:"
_TIMEOUT_S = 300.0

_SNAPSHOT = """
local out = {}
for _, name in ipairs(redis.call('KEYS', ARGV[1])) do
  local passing = false
  for place = 3, #ARGV do
    if string.sub(name, 1, #ARGV[place]) == ARGV[place] then passing = true end
  end
  local value = not passing and redis.call('DUMP', name)
  if value then
    local record = string.sub(name, 1, #ARGV[2]) == ARGV[2] and redis.call('GET', name) or ''
    for _, part in ipairs({name, redis.call('PTTL', name), value, record}) do out[#out + 1] = part end
  end
end
return out
"""


class NotEmptyError(RunError):
    """There is something already where a backup is to be restored."""

    code = "not-empty"
    title = "The place of the restore is not empty"


@dataclass(frozen=True)
class Entry:
    """One key.

    Attributes:
        name: its full name.
        expires_in_ms: milliseconds it has left; 0 for no end.
        dump: its value as `DUMP` gives it.
    """

    name: str
    expires_in_ms: int
    dump: bytes

    def to_line(self) -> str:
        """Give it as a line of JSON."""
        return json.dumps([self.name, self.expires_in_ms, base64.b64encode(self.dump).decode()])

    @classmethod
    def from_line(cls, line: str | bytes) -> Entry:
        """Read a line of JSON.

        Raises:
            ValueError: when it is none.
        """
        name, expires_in_ms, dump = json.loads(line)
        return cls(str(name), int(expires_in_ms), base64.b64decode(dump, validate=True))


def take_snapshot(redis_url: str) -> tuple[list[Entry], list[JobRecord]]:
    """Give all keys of the service, and the job records among them, as they are at one moment.

    Args:
        redis_url: address of the server.

    Raises:
        RedisError: while the server is away.
    """
    with _connect(redis_url) as redis:
        # Scripts see the moment they begin as the time, so nothing expires under them.
        parts: list[Any] = redis.eval(_SNAPSHOT, 0, PREFIX + "*", _JOB, *_PASSING)
    entries, records = [], []
    for name, expires_in_ms, dump, raw in _in_fours(parts):
        entries.append(Entry(name.decode(), max(0, int(expires_in_ms)), dump))
        if raw:
            records.append(JobRecord.model_validate_json(raw))
    return entries, sorted(records, key=lambda record: record.sequence)


def must_be_empty(redis_url: str) -> None:
    """Refuse a server that holds keys of a service.

    Raises:
        NotEmptyError: when it does.
        RedisError: while the server is away.
    """
    with _connect(redis_url) as redis:
        found = next(redis.scan_iter(PREFIX + "*", count=1000), None)
    if found is not None:
        raise NotEmptyError(
            "the Redis server holds a service's keys",
            expected=f"no key that begins with {PREFIX}",
            found="some",
            hint="stop the service and give an empty server, or another database of this one",
        )


def put_back(redis_url: str, entries: Sequence[Entry]) -> None:
    """Store keys, all at once or none.

    Args:
        redis_url: address of an empty server.
        entries: the keys.

    Raises:
        RunError: when the server cannot read them.
        RedisError: while the server is away.
    """
    with _connect(redis_url) as redis:
        try:
            # A server that cannot read the format says so at the first; nothing is stored then.
            for entry in entries[:1]:
                redis.restore(entry.name, 0, entry.dump)
                redis.delete(entry.name)
        except ResponseError as error:
            raise RunError(
                "the Redis server cannot read the backup",
                expected="a server of the same version as the one of the backup, or a later one",
                found="another",
            ) from error
        with redis.pipeline(transaction=True) as pipe:
            for entry in entries:
                pipe.restore(entry.name, entry.expires_in_ms, entry.dump)
            pipe.execute()


def _connect(redis_url: str) -> Any:  # noqa: ANN401  (redis-py does not type its commands usefully)
    """Give a connection that leaves bytes as they are and has time for large answers."""
    return Redis.from_url(redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=5)


def _in_fours(parts: Sequence[Any]) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Give a flat sequence in groups of four."""
    each = iter(parts)
    return zip(each, each, each, each, strict=True)
