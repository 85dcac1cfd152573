"""Redis, worker and HTTP on one machine, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import uvicorn
from redis.exceptions import RedisError

from api.restarts import Restarts
from api.server import StopRequestedError, address_of, build_server, listen, settle_access, stop_signals
from model.errors import RunError
from worker import logs
from worker.data_folder import locked
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore
from worker.presence import BROKEN, LOADED, Presence, WorkerState
from worker.processes import start_child, stop_child, worker_name
from worker.redis_connection import connect
from worker.settings import Settings

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
_FORGET_EVERY_S = 600.0
_WORKER_GRACE_S = 10.0


def serve(settings: Settings, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Run the whole service until SIGINT or SIGTERM.

    Args:
        settings: without a Redis address, a private server is started in the data folder.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        announce: called with the address of the service once jobs are taken and worked on.

    Raises:
        DataFolderError: another service runs on the data folder, or it cannot be written.
        RunError: a part does not start, or keeps ending before it works.
    """
    logs.configure(settings)
    with ExitStack() as stack:
        try:
            stack.enter_context(stop_signals())
            stack.enter_context(locked(settings))
            listener = stack.enter_context(listen(host, port))
            settle_access(settings, listener.getsockname()[0])
            if settings.redis_url is None:
                redis: EmbeddedRedis | None = stack.enter_context(EmbeddedRedis(settings.data_dir))
                settings = settings.model_copy(update={"redis_url": redis.url if redis else None})
            else:
                redis = None
            worker = stack.enter_context(_Worker(settings))
            asyncio.run(_run(settings, listener, worker, redis, announce))
        except StopRequestedError:
            _log.info("stopping")


async def _run(
    settings: Settings,
    listener: socket.socket,
    worker: _Worker,
    redis: EmbeddedRedis | None,
    announce: Callable[[str], None],
) -> None:
    """Serve HTTP and look after the children until told to stop."""
    server = build_server(settings, listener)
    watch = asyncio.create_task(_watch(server, worker, redis))
    ready = asyncio.create_task(_announce_when_ready(settings, listener, announce))
    try:
        await server.serve(sockets=[listener])
    finally:
        ready.cancel()
        watch.cancel()
        # A child that ended is the reason of the stop, and is reported.
        await asyncio.gather(ready, return_exceptions=True)
    if watch.done() and not watch.cancelled() and watch.exception() is not None:
        raise watch.exception() or RunError("a part of the service ended")


async def _watch(server: uvicorn.Server, worker: _Worker, redis: EmbeddedRedis | None) -> None:
    """Start again what died; stop everything when it keeps dying before it works."""
    redis_restarts = Restarts("the embedded Redis server", "see redis/redis.log in the data folder")
    forget_at = time.monotonic() + _FORGET_EVERY_S
    try:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if redis is not None:
                await _revive_redis(redis, redis_restarts)
                if time.monotonic() > forget_at:
                    forget_at = time.monotonic() + _FORGET_EVERY_S
                    await _forget_erased(redis)
            await worker.revive()
    except RunError:
        server.should_exit = True
        raise


async def _revive_redis(redis: EmbeddedRedis, restarts: Restarts) -> None:
    """Start the embedded server again when it has ended; nothing that it confirmed is lost."""
    if redis.running:
        if not restarts.works and await asyncio.to_thread(redis.answers):
            restarts.note_works()
        return
    if redis.disk_is_full():
        # It ends at its first write. Jobs wait until there is space.
        restarts.note_works()
    if restarts.is_due(redis.exit_status):
        # In this thread, whose end the kernel takes for ours.
        redis.start()


async def _forget_erased(redis: EmbeddedRedis) -> None:
    """Clear the append-only file of what was erased; the next time does when this one cannot."""
    try:
        await asyncio.to_thread(redis.forget_erased)
    except RedisError:
        _log.info("the append-only file of Redis is written anew later")


async def _announce_when_ready(settings: Settings, listener: socket.socket, announce: Callable[[str], None]) -> None:
    """Wait until the worker hears and has loaded the default bundle, or cannot, then tell the address."""
    presence = Presence(connect(settings.required_redis_url()), settings.stale_after_s, settings.deaf_after_s)
    while not any(worker.facts.get("bundle_state") in (LOADED, BROKEN) for worker in await _workers(presence)):
        await asyncio.sleep(0.1)
    presence.redis.close()
    announce(address_of(listener))


async def _workers(presence: Presence) -> list[WorkerState]:
    """Give the workers that beat lately; none while Redis cannot be asked."""
    try:
        return await asyncio.to_thread(presence.workers)
    except RedisError:
        return []


class _Worker:
    """The worker process, running while used as a context manager."""

    def __init__(self, settings: Settings) -> None:
        """Remember what the worker is told."""
        told = {"COCHLEAR_DATA_DIR": str(settings.data_dir), "COCHLEAR_REDIS_URL": settings.required_redis_url()}
        self._environment = {**os.environ, **told}
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = settings
        self._restarts = Restarts("the worker", "its last lines above say why")

    def __enter__(self) -> _Worker:
        """Start the worker."""
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the worker; it gives its job back."""
        if self._process is not None:
            stop_child(self._process, _WORKER_GRACE_S)

    async def revive(self) -> None:
        """Start the worker again when it has ended.

        Raises:
            RunError: when it ended before it worked, several times in a row.
        """
        if self._process is None or self._process.poll() is None:
            return
        if not self._restarts.works and await asyncio.to_thread(self._has_beaten, self._process.pid):
            self._restarts.note_works()
        if self._restarts.is_due(self._process.returncode):
            self._start()

    def _has_beaten(self, process_id: int) -> bool:
        """Tell whether a worker left a sign of life; without Redis nobody knows, and it is not held against it."""
        store = JobStore(self._settings.required_redis_url(), self._settings.stale_after_s)
        try:
            return worker_name(process_id) in store.live_workers()
        except RedisError:
            return True
        finally:
            store.close()

    def _start(self) -> None:
        """Start the process; -P keeps the working directory out of the module search path.

        Should this process be killed, the worker is killed too: its job is found abandoned and tried again.
        """
        command = [sys.executable, "-P", "-m", "worker"]
        self._process = start_child(command, self._environment, signal.SIGKILL)
