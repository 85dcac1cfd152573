"""An HTTP server of this process that takes webhooks, answers as told, and verifies signatures by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SECRET_BYTES = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(SECRET_BYTES).decode()

Answer = tuple[int, dict[str, str]]


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    id: str
    at: float
    body: dict[str, Any]
    genuine: bool
    host: str
    headers: dict[str, str]
    content: bytes


@dataclass
class Receiver:
    """The server, running while used as a context manager.

    Attributes:
        answers: statuses and headers by path, taken one by one; 204 when there is none left.
        received: what came, in order.
    """

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Listen on a free port of the loopback."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        """Give the address of a path."""
        return f"http://127.0.0.1:{self._server.server_port}/{path}"

    def of(self, path: str) -> list[Received]:
        """Give what came to a path."""
        return [item for item in self.received if item.path == f"/{path}"]

    def wait_for(self, path: str, count: int, timeout_s: float = 20.0) -> list[Received]:
        """Wait until so many requests have come to a path."""
        wait_until(lambda: len(self.of(path)) >= count, timeout_s)
        return self.of(path)


def wait_until(reached: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until a condition is met."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    """Give the class that handles the requests of one server."""

    class Handler(BaseHTTPRequestHandler):
        """Notes a request and answers it."""

        def do_POST(self) -> None:
            """Take a webhook."""
            content = self.rfile.read(int(self.headers["content-length"]))
            name, stamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
            signed = hmac.new(SECRET_BYTES, f"{name}.{stamp}.".encode() + content, hashlib.sha256).digest()
            genuine = self.headers["webhook-signature"] == "v1," + base64.b64encode(signed).decode()
            genuine &= abs(time.time() - int(stamp)) < 10
            body, host, headers = json.loads(content), self.headers["host"], dict(self.headers.items())
            item = Received(self.path, name, time.monotonic(), body, genuine, host, headers, content)
            waiting = receiver.answers.get(self.path.removeprefix("/"), [])
            status, further = waiting.pop(0) if waiting else (204, {})
            receiver.received.append(item)
            self.send_response(status)
            for key, value in further.items():
                self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
