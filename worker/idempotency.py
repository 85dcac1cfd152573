"""Claims on idempotency keys in Redis: of several requests that carry one key, one makes the thing.

A claim is a short lease, renewed while its request is worked on. It is settled in the very transaction that stores what
the request made, on the condition that it is still held; so a request that lost its lease makes nothing, and one whose
process died after that transaction has made it for good.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

from worker.jobs import JobRecord
from worker.redis_connection import connect, key

KEPT_S = 24 * 3600
"""Seconds for which a settled key is remembered."""
LEASE_S = 10
"""Seconds for which a claim blocks its key when its process dies."""

_RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('expire', KEYS[1], ARGV[2]) end return 0"
_FORGET = """
local found = redis.call('get', KEYS[1])
if found and cjson.decode(found)['id'] == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class ClaimLostError(Exception):
    """The claim is no longer held, so what it was for must not be stored."""


@dataclass(frozen=True)
class Claim:
    """The right to make what a key stands for.

    Attributes:
        name: the key in Redis.
        fingerprint: digest of what was sent.
        token: random name of the claim.
    """

    name: str
    fingerprint: str
    token: str

    @property
    def raw(self) -> str:
        """What stands in Redis while it is held."""
        return json.dumps({"fingerprint": self.fingerprint, "token": self.token, "id": None})

    def watch(self, pipe: Any) -> None:  # noqa: ANN401
        """Begin a transaction that fails when the claim changes; call it before `pipe.multi()`.

        Raises:
            ClaimLostError: when it is not held any more.
        """
        pipe.watch(self.name)
        if pipe.get(self.name) != self.raw:
            raise ClaimLostError

    def settle(self, pipe: Any, made_id: str) -> None:  # noqa: ANN401
        """Queue, into that transaction, the command that remembers what was made."""
        settled = json.dumps({"fingerprint": self.fingerprint, "token": self.token, "id": made_id})
        pipe.set(self.name, settled, ex=KEPT_S)


@dataclass(frozen=True)
class Taken:
    """A key that another request has.

    Attributes:
        fingerprint: digest of what that request sent.
        made_id: id of what it made; None while it is being worked on.
    """

    fingerprint: str
    made_id: str | None


class Claims:
    """The idempotency keys of one service.

    Args:
        redis_url: address of the server.
    """

    def __init__(self, redis_url: str) -> None:
        """Prepare the connection; it is made when first used."""
        self._redis = connect(redis_url)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def claim(self, caller: str | None, resource: str, idempotency_key: str, fingerprint: str) -> Claim | Taken:
        """Claim a key, or tell who has it.

        Args:
            caller: id of the API key; the same text of another caller is another key.
            resource: what is made, such as `jobs`.
            idempotency_key: as sent; only its digest is kept.
            fingerprint: digest of what was sent.
        """
        digest = hashlib.sha256(json.dumps([caller, resource, idempotency_key]).encode()).hexdigest()
        claim = Claim(key("idempotency", digest), fingerprint, secrets.token_hex(8))
        while not self._redis.set(claim.name, claim.raw, nx=True, ex=LEASE_S):
            raw = self._redis.get(claim.name)
            if raw is not None:
                found = json.loads(raw)
                return Taken(found["fingerprint"], found["id"])
        return claim

    def renew(self, claim: Claim) -> bool:
        """Renew the lease of a claim; tell whether it was still held."""
        return bool(self._redis.eval(_RENEW, 1, claim.name, claim.raw, LEASE_S))

    def release(self, claim: Claim) -> None:
        """Give a claim back that was not settled; one that was is left."""
        self._redis.eval(_RELEASE, 1, claim.name, claim.raw)


def follow(pipe: Any, old: JobRecord | None, new: JobRecord | None) -> None:  # noqa: ANN401
    """Forget the idempotency key of a job whose record is erased: its fingerprint is a digest of the image.

    Args:
        pipe: the transaction that stores the change.
        old: the record before, or None when it is new.
        new: the record after, or None when it is erased.
    """
    if new is None and old is not None and old.idempotency is not None:
        # A record that was never stored, because its claim was lost, must not take another's key with it.
        forget_key(pipe, old.idempotency, old.id)


def forget_key(pipe: Any, name: str, made_id: str) -> None:  # noqa: ANN401
    """Queue the command that forgets a settled key, if it stands for this thing.

    Args:
        pipe: a transaction.
        name: where the key is kept.
        made_id: id of what was made.
    """
    pipe.eval(_FORGET, 1, name, made_id)
