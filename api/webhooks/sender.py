"""One try of one webhook: signed, to the address that was checked, the answer judged by its status alone."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from random import SystemRandom

import anyio.to_thread
import httpx
from standardwebhooks import Webhook

from api.schemas import Job
from api.webhooks.guard import Guard, Target, UnsafeTargetError
from worker.webhooks import Message, Outcome

TIMEOUT_S = 10.0
_LONGEST_PAUSE_S = 7200.0
_LONGEST_WISH_S = 86400.0
"""How long a receiver may ask to be left alone."""
_AGAIN = frozenset({408, 429})
_random = SystemRandom()


class Sender:
    """Sends messages; an async context manager.

    Args:
        secrets: `whsec_...`, separated by spaces; messages are signed with each.
        guard: says where messages may go.
        attempts: tries before a message is given up.
        retry_s: seconds to the first retry.
    """

    def __init__(self, secrets: str, guard: Guard, attempts: int, retry_s: float) -> None:
        """Prepare; no connection is kept between tries, as each goes to an address checked anew."""
        self._webhooks = [Webhook(secret) for secret in secrets.split(" ")]
        self._guard = guard
        self._attempts = attempts
        self._retry_s = retry_s

    async def send(self, message: Message, attempt: int) -> Outcome:
        """Try once.

        Args:
            message: what to tell.
            attempt: number of this try, from 1.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                target = await anyio.to_thread.run_sync(
                    self._guard.check, str(message.record.webhook), abandon_on_cancel=True
                )
                status, wish_s = await self._post(target, message)
        except UnsafeTargetError:
            return self._failed(attempt, error="address-refused")
        except TimeoutError:
            return self._failed(attempt, error="timeout")
        except (httpx.HTTPError, OSError) as error:
            return self._failed(
                attempt, error="timeout" if isinstance(error, httpx.TimeoutException) else "no-connection"
            )
        if 200 <= status < 300:
            return Outcome(status=status, delivered=True, final=True)
        if status in _AGAIN or status >= 500:
            return self._failed(attempt, status=status, wish_s=wish_s)
        return Outcome(status=status, final=True, gone=status == 410)

    async def _post(self, target: Target, message: Message) -> tuple[int, float]:
        """Send a message and give status and `Retry-After` in seconds; the answer's body is not read."""
        body = payload_of(message)
        now = datetime.now(UTC)
        headers = {
            "Host": target.url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": f"cochlear/{version('cochlear')}",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            # Several signatures stand side by side (Standard Webhooks, "Signature scheme"): one that fits suffices.
            "webhook-signature": " ".join(webhook.sign(message.id, now, body) for webhook in self._webhooks),
        }
        # The name stays what TLS certificates are verified against; only the connection goes to the number.
        request = httpx.Request(
            "POST",
            target.url.copy_with(host=str(target.address)),
            headers=headers,
            content=body.encode(),
            extensions={
                "sni_hostname": target.url.raw_host.decode("ascii"),
                "timeout": httpx.Timeout(TIMEOUT_S).as_dict(),
            },
        )
        # Proxies of the environment are not used: they would connect to wherever they like.
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False) as client:
            response = await client.send(request, stream=True)
            try:
                return response.status_code, _retry_after(response.headers.get("retry-after"), now)
            finally:
                await response.aclose()

    def _failed(
        self, attempt: int, *, status: int | None = None, error: str | None = None, wish_s: float = 0.0
    ) -> Outcome:
        """Settle when to try again: pauses double and are scattered, so that receivers are not hit by all at once."""
        if attempt >= self._attempts:
            return Outcome(status=status, error=error, final=True)
        pause = min(self._retry_s * 2.0 ** (attempt - 1), _LONGEST_PAUSE_S) * _random.uniform(0.75, 1.25)
        return Outcome(status=status, error=error, next_try_in_s=max(pause, min(wish_s, _LONGEST_WISH_S)))


def payload_of(message: Message) -> str:
    """Give the body: kind of event, when, and the job as its resource showed it then; the same at every try."""
    job = Job.of(message.record, None, "/v1/jobs").model_dump(mode="json", by_alias=True)
    document = {"type": message.type, "timestamp": message.at.isoformat(), "data": job}
    return json.dumps(document, separators=(",", ":"))


def _retry_after(text: str | None, now: datetime) -> float:
    """Give the seconds of a `Retry-After` header (RFC 9110, section 10.2.3); 0 for none or a malformed one."""
    if text is None:
        return 0.0
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
