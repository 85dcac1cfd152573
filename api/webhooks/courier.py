"""The task of an API process that empties the outbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.to_thread
from redis.exceptions import RedisError

from api.webhooks.request import guard_of
from api.webhooks.sender import TIMEOUT_S, Sender
from worker.settings import Settings
from worker.webhooks import Message, Outbox

_log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Messages under way in one process, so that a receiver that hangs does not hold up the others."""
_LOOK_EVERY_S = 0.5
_LEASE_S = TIMEOUT_S + 10.0


@asynccontextmanager
async def deliveries(settings: Settings) -> AsyncIterator[None]:
    """Deliver webhooks for the time of the block; nothing is delivered where no secret is set."""
    if settings.webhook_secret is None:
        yield
        return
    outbox = Outbox(settings.required_redis_url())
    sender = Sender(
        settings.webhook_secret.get_secret_value(),
        guard_of(settings.webhook_allow),
        settings.webhook_attempts,
        settings.webhook_retry_s,
    )
    task = asyncio.create_task(Courier(outbox, sender).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        outbox.close()


class Courier:
    """Takes due messages out of the outbox and sends them.

    Args:
        outbox: where messages wait.
        sender: sends one message.
    """

    def __init__(self, outbox: Outbox, sender: Sender) -> None:
        """Keep the parts; calls to Redis have threads of their own, so that no upload can hold them up."""
        self._outbox = outbox
        self._sender = sender
        self._threads = anyio.CapacityLimiter(_AT_ONCE)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Deliver until canceled; what is under way then is sent again when its lease has run out."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                taken = await self._take()
                if taken is None:
                    self._slots.release()
                    await asyncio.sleep(_LOOK_EVERY_S)
                else:
                    group.create_task(self._deliver(*taken))

    async def _take(self) -> tuple[Message, int] | None:
        """Give a message that is due; none while Redis is away."""
        try:
            return await anyio.to_thread.run_sync(self._outbox.take, _LEASE_S, limiter=self._threads)
        except RedisError as error:
            _log.warning("webhooks are put off, Redis is away: %s", type(error).__name__)
        except Exception:
            # One message that cannot be read must not end the delivery of the others.
            _log.exception("a message of the outbox cannot be read")
        return None

    async def _deliver(self, message: Message, tried: int) -> None:
        """Send a message and note how that went."""
        try:
            outcome = await self._sender.send(message, tried + 1)
            await anyio.to_thread.run_sync(self._outbox.settle, message, tried + 1, outcome, limiter=self._threads)
            if not outcome.delivered:
                end = "given up" if outcome.final else f"again in {outcome.next_try_in_s:.0f} s"
                reason = outcome.error or f"HTTP {outcome.status}"
                _log.warning("job %s: webhook try %d: %s; %s", message.record.id, tried + 1, reason, end)
        except RedisError as error:
            _log.warning("job %s: a webhook will be sent again: %s", message.record.id, type(error).__name__)
        except Exception:
            # One message must not end the delivery of the others; its lease runs out and it is tried again.
            _log.exception("job %s: a webhook cannot be sent", message.record.id)
        finally:
            self._slots.release()
