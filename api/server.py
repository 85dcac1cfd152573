"""The HTTP server of one API process, hardened; and `cochlear api`, which runs it alone."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import NoReturn

import uvicorn

from api.access.heads import MAX_HEAD_BYTES
from api.access.origin import is_loopback
from api.http_protocol import with_limits
from model.errors import InputError
from worker.settings import Settings, SettingsError

_KEEP_ALIVE_S = 5
_GRACE_S = 5


class StopRequestedError(BaseException):
    """SIGINT or SIGTERM came; not an `Exception`, so that nothing on the way handles it."""


def run_api(settings: Settings, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Run HTTP alone until SIGINT or SIGTERM; workers and Redis run elsewhere.

    Args:
        settings: names the Redis server.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        announce: called with the address once it is listened on.

    Raises:
        SettingsError: no Redis server is named, or access would be open to the network.
        InputError: the address cannot be listened on.
    """
    settings.required_redis_url()
    with ExitStack() as stack, suppress(StopRequestedError):
        stack.enter_context(stop_signals())
        listener = stack.enter_context(listen(host, port))
        server = build_server(settings, listener)
        announce(address_of(listener))
        asyncio.run(server.serve(sockets=[listener]))


def build_server(settings: Settings, listener: socket.socket) -> uvicorn.Server:
    """Give the server of the application.

    Args:
        settings: settings of the service; the kind of access is settled here if they leave it open.
        listener: the socket it will serve.

    Raises:
        SettingsError: when access would be open to the network.
    """
    # Imported here, so that a worker that was started just before does so while this takes its time.
    from api.app import create_app

    settled = settings.model_copy(update={"access": settle_access(settings, listener.getsockname()[0])})
    config = uvicorn.Config(
        create_app(settled),
        http=with_limits(settled),
        log_config=None,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(settled.trusted_proxies.strip()),
        forwarded_allow_ips=settled.trusted_proxies,
        root_path=settled.root_path,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return uvicorn.Server(config)


def settle_access(settings: Settings, address: str) -> str:
    """Give the kind of access for an address that is listened on: `open` or `keys`.

    Raises:
        SettingsError: when access would be open to the network.
    """
    local = is_loopback(address)
    if settings.access == "open" and not local:
        raise SettingsError(
            "access cannot be open on an address that others reach",
            expected="COCHLEAR_ACCESS=keys, or a loopback address such as 127.0.0.1",
            found="COCHLEAR_ACCESS=open on another address",
            hint="leave COCHLEAR_ACCESS away and make keys with `cochlear keys create`",
        )
    return settings.access or ("open" if local else "keys")


def address_of(listener: socket.socket) -> str:
    """Give the address of a socket as a client names it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Give a socket that listens; taken early, so that a port in use is told before anything is started."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise InputError(
            "the address cannot be listened on",
            expected="a free port of this machine",
            found=f"{host}:{port}, {str(error.strerror or error).lower()}",
            hint="give another --host or --port",
        ) from error
    with listener:
        yield listener


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `StopRequestedError`; later ones are ignored, as stopping is bounded."""

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise StopRequestedError

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
