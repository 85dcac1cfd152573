"""The `Idempotency-Key` header: a submission sent again makes nothing again.

As draft-ietf-httpapi-idempotency-key-header has it, the same key and the same content give the thing that was made;
other content is refused with 422; while the first request is still being accepted, 409 with `Retry-After`. Keys belong
to their caller and are kept for 24 hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from fastapi import Request
from redis.exceptions import RedisError

from api.problems import ServiceError
from worker.idempotency import LEASE_S, Claim, Claims, Taken

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
"""Header of an answer that tells of what an earlier request made."""

_MAX_LENGTH = 255
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]+")

PARAMETER: Mapping[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A random text of your own, such as a UUID, that names this submission. Sent again within 24 hours "
    "with the same content, the answer is the thing that was made the first time, with `Idempotent-Replayed: true`; "
    "with other content 422; while the first request is still being accepted 409 with `Retry-After`. Erasing what was "
    "made frees the key.",
    "schema": {"type": "string", "minLength": 1, "maxLength": _MAX_LENGTH},
    "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
}
"""The OpenAPI entry of the header."""


@dataclass(frozen=True)
class Ticket:
    """What a request may do.

    Attributes:
        claim: to be settled with what is made; None when the request carried no key.
        made_id: id of what an earlier request made, which is to be answered; None otherwise.
    """

    claim: Claim | None = None
    made_id: str | None = None


def key_of(request: Request) -> str | None:
    """Give the idempotency key of a request, or None.

    It is a string as RFC 9651, section 3.3.3 writes it, in quotes; the same text without quotes is the same key.

    Raises:
        ServiceError: when it is malformed or given twice.
    """
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    text = values[0].strip()
    quoted = _QUOTED.fullmatch(text)
    bare = re.sub(r'\\(["\\])', r"\1", quoted[1]) if quoted else text
    fits = 0 < len(bare) <= _MAX_LENGTH and (quoted is not None or _BARE.fullmatch(bare) is not None)
    if len(values) > 1 or not fits or not (bare.isascii() and bare.isprintable()):
        raise ServiceError(
            "invalid-idempotency-key",
            "The idempotency key is malformed",
            "the header cannot be read",
            expected=f'one {HEADER} of 1 to {_MAX_LENGTH} printable ASCII characters, such as "8e03978e-40d5-43dd"',
            found="several" if len(values) > 1 else ascii(text[:80]),
            field=HEADER,
        )
    return bare


def fingerprint_of(content_sha256: str, fields: Mapping[str, str]) -> str:
    """Give the fingerprint of what was sent: a digest of the digest of the files and of all other fields."""
    return hashlib.sha256(json.dumps([content_sha256, sorted(fields.items())]).encode()).hexdigest()


@contextlib.asynccontextmanager
async def ticket_for(
    claims: Claims, caller: str | None, resource: str, idempotency_key: str | None, fingerprint: str
) -> AsyncIterator[Ticket]:
    """Claim a key while a request is being accepted; a claim that was not settled is given back at the end.

    Watch and settle it in the transaction that stores what is made, as `worker.job_store` does.

    Args:
        claims: the keys.
        caller: id of the API key.
        resource: what is made, such as `jobs`.
        idempotency_key: as `key_of` gives it; None claims nothing.
        fingerprint: as `fingerprint_of` gives it.

    Raises:
        ServiceError: the key was used for other content, or its first request is still being accepted.
    """
    if idempotency_key is None:
        yield Ticket()
        return
    found = await anyio.to_thread.run_sync(claims.claim, caller, resource, idempotency_key, fingerprint)
    if isinstance(found, Taken):
        yield Ticket(made_id=_made(found, fingerprint))
        return
    renewal = asyncio.create_task(_renew(claims, found))
    try:
        yield Ticket(claim=found)
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
        with contextlib.suppress(RedisError), anyio.CancelScope(shield=True):
            # When Redis is away the lease runs out by itself.
            await anyio.to_thread.run_sync(claims.release, found)


def claim_lost() -> ServiceError:
    """Give the error for a request that was interrupted so long that its claim ran out; nothing was made."""
    return _busy("the request took too long to be accepted and another may have taken its place")


def _made(taken: Taken, fingerprint: str) -> str:
    """Give the id of what a key stands for."""
    if taken.fingerprint != fingerprint:
        raise ServiceError(
            "idempotency-key-reused",
            "The idempotency key was used for something else",
            "an earlier request with this key had other content",
            expected="the same content, or another key",
            found="other content",
            field=HEADER,
        )
    if taken.made_id is None:
        raise _busy("another request with this key is still being accepted")
    return taken.made_id


def _busy(detail: str) -> ServiceError:
    """Give the error for a key whose first request is under way."""
    title = "The first request is under way"
    return ServiceError(
        "idempotency-key-busy", title, detail, hint="send the same request again", field=HEADER, retry_after_s=1
    )


async def _renew(claims: Claims, claim: Claim) -> None:
    """Renew a lease until it is lost or the task is canceled."""
    while True:
        await asyncio.sleep(LEASE_S / 4)
        with contextlib.suppress(RedisError):
            if not await anyio.to_thread.run_sync(claims.renew, claim):
                return
