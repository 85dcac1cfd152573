"""Wakes those who wait for a job: one listener per process, however many wait.

A waiting client holds neither a thread nor a connection to Redis. Its task sleeps until the listener hears of its job
on the channel of `worker.events`. A message can be lost (a restart of Redis, a connection that broke unnoticed), so
the records that somebody waits for are also compared every few seconds, all in one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from redis.exceptions import RedisError

from worker import job_index
from worker.events import CHANGES, QUEUE_MOVED
from worker.redis_connection import connect_async, key
from worker.routes import QUEUES

_log = logging.getLogger(__name__)

_COMPARE_EVERY_S = 3.0
_RETRY_S = 0.5
_CHUNK = 200
_CONNECTIONS = 8


class Waiter:
    """One task that waits for one job."""

    def __init__(self, job_id: str) -> None:
        """Start with nothing having happened."""
        self.job_id = job_id
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Tell that something may have changed."""
        self._event.set()

    def rearm(self) -> None:
        """Forget earlier calls; do so before looking, so that a change during the look is not missed."""
        self._event.clear()

    async def sleep(self, seconds: float) -> bool:
        """Sleep until woken or the time is over; tell whether woken."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Watch:
    """The listener of one process.

    Args:
        redis_url: address of the server.
    """

    def __init__(self, redis_url: str) -> None:
        """Prepare; it listens once started."""
        self._redis_url = redis_url
        self.redis = connect_async(redis_url, _CONNECTIONS)
        self.closing = False
        self._waiters: dict[str, set[Waiter]] = {}
        self._seen: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to listen, in the running event loop."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._compare())]

    async def stop(self) -> None:
        """Let all waiters go and close the connections."""
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.redis.aclose()

    def close(self) -> None:
        """Let all waiters go, now and from now on."""
        self.closing = True
        self._wake_all()

    @contextlib.contextmanager
    def waiter(self, job_id: str) -> Iterator[Waiter]:
        """Give a waiter that is woken when the job, or the queue, changes."""
        waiter = Waiter(job_id)
        self._waiters.setdefault(job_id, set()).add(waiter)
        try:
            yield waiter
        finally:
            self._waiters[job_id].discard(waiter)
            if not self._waiters[job_id]:
                del self._waiters[job_id]
                self._seen.pop(job_id, None)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiters.values()))

    @contextlib.contextmanager
    def closed_by_signals(self) -> Iterator[None]:
        """Close as soon as SIGINT or SIGTERM comes, ahead of the server, which first waits for open answers to end."""
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        replaced = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        served = {number: handler for number, handler in replaced.items() if callable(handler)}
        for number, handler in served.items():
            signal.signal(number, _first(lambda: loop.call_soon_threadsafe(self.close), handler))
        try:
            yield
        finally:
            for number, handler in served.items():
                signal.signal(number, handler)

    async def _listen(self) -> None:
        """Wake waiters by what the channel says."""
        while True:
            try:
                async with self.redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANGES)
                    # What happened while nobody listened is found by looking.
                    self._wake_all()
                    while True:
                        message = await channel.get_message(timeout=_COMPARE_EVERY_S)
                        if message is not None:
                            self._on_message(str(message["data"]))
            except (RedisError, OSError) as error:
                _log.warning("the channel of changes is lost and looked for again: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    def _on_message(self, text: str) -> None:
        """Wake those whom a message is for."""
        if text == QUEUE_MOVED:
            self._wake_all()
        else:
            for waiter in self._waiters.get(text, ()):
                waiter.wake()

    async def _compare(self) -> None:
        """Wake those whose job has changed without a message."""
        queue: object = None
        while True:
            await asyncio.sleep(_COMPARE_EVERY_S)
            if not self._waiters:
                continue
            try:
                queue, before = await self._queue_mark(), queue
                if queue != before:
                    self._wake_all()
                await self._compare_records()
            except (RedisError, OSError) as error:
                _log.warning("waiting jobs cannot be looked at: %s", type(error).__name__)

    async def _queue_mark(self) -> object:
        """Give something that differs when places in the queue have changed."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for queue in QUEUES:
                pipe.zcard(job_index.waiting_in(queue))
                pipe.zrange(job_index.waiting_in(queue), 0, 0)
            return await pipe.execute()

    async def _compare_records(self) -> None:
        """Wake those whose record differs from what it was at the last look."""
        ids = list(self._waiters)
        for begin in range(0, len(ids), _CHUNK):
            chunk = ids[begin : begin + _CHUNK]
            raws = await self.redis.mget([key("job", job_id) for job_id in chunk])
            for job_id, mark in zip(chunk, map(hash, raws), strict=True):
                waiters = self._waiters.get(job_id, ())
                if waiters and self._seen.get(job_id) != mark:
                    self._seen[job_id] = mark
                    for waiter in waiters:
                        waiter.wake()

    def _wake_all(self) -> None:
        """Wake everybody."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake()


def _first(
    act: Callable[[], object], then: Callable[[int, FrameType | None], object]
) -> Callable[[int, FrameType | None], None]:
    """Give a signal handler that acts before another."""

    def handle(number: int, frame: FrameType | None) -> None:
        act()
        then(number, frame)

    return handle
