"""Answers that wait: until something is so, the time is over, the client has left, or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from fastapi import Request

from api.watching import Waiter, Watch

MAX_WAIT_S = 60
"""The longest wait on offer, in seconds; proxies commonly give up on an answer soon after."""

Seen = TypeVar("Seen")
# Looking is short; a wave of woken waiters must not take all threads from other requests.
_looks = anyio.CapacityLimiter(8)


async def wait_until(
    request: Request,
    watch: Watch,
    job_id: str,
    look: Callable[[], Seen],
    enough: Callable[[Seen], bool],
    seconds: float,
) -> Seen:
    """Look at a job until what is seen is enough, and give what was seen last.

    Args:
        request: the request, its body read; ends the wait when its client leaves.
        watch: wakes when the job changes.
        job_id: the job.
        look: looks once (in a thread).
        enough: whether to answer with what was seen.
        seconds: when to answer anyway; 0 looks once.
    """
    if seconds <= 0:
        return await anyio.to_thread.run_sync(look, limiter=_looks)
    deadline = time.monotonic() + seconds
    with watch.waiter(job_id) as waiter:
        async with client_watched(request, waiter) as client:
            while True:
                waiter.rearm()
                seen = await anyio.to_thread.run_sync(look, limiter=_looks)
                left = deadline - time.monotonic()
                if enough(seen) or left <= 0 or watch.closing or client.gone:
                    return seen
                await waiter.sleep(left)


class Client:
    """Whether the sender of a request is still there."""

    gone = False


@contextlib.asynccontextmanager
async def client_watched(request: Request, waiter: Waiter) -> AsyncIterator[Client]:
    """Wake a waiter when the client of a request, whose body was read, has left."""
    client = Client()

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        client.gone = True
        waiter.wake()

    task = asyncio.create_task(listen())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
