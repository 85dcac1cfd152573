"""The HTTP side of one connection, with limits of time that the server's own protocol lacks.

A connection costs memory and a file descriptor for as long as a client likes. Closed are: one whose request head does
not come in time, one whose upload comes slower than a stated rate, one that does not read its answer, and one that goes
on sending after it was answered (a while is granted, as many clients read the answer only after sending all).
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from http import HTTPStatus
from typing import Any

import h11
from starlette.requests import Request
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.access.heads import head_too_large
from api.problems import ServiceError, respond
from worker.settings import Settings

_LOOK_EVERY_S = 0.25
_LINGER_S = 5.0


class GuardedProtocol(H11Protocol):
    """One connection; `with_limits` binds it to the settings."""

    settings: Settings

    def __init__(self, config: Config, *args: Any, **named: Any) -> None:  # noqa: ANN401  (passed on unseen)
        """Start without a connection."""
        super().__init__(config, *args, **named)
        self._watch: asyncio.TimerHandle | None = None
        self._phase: object = None
        self._phase_s = 0.0
        self._received = 0
        self._unread_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            self._refuse(
                ServiceError(
                    "too-many-connections",
                    "There are too many connections",
                    "this process serves as many connections as it may",
                    retry_after_s=2,
                )
            )
            return
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._received += len(data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or has too large a head, with a problem; called while h11's error is handled."""
        error = sys.exc_info()[1]
        too_large = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431
        malformed = ServiceError("bad-request", "The request is malformed", "this is no HTTP request")
        self._refuse(head_too_large() if too_large else malformed)

    def _look_later(self) -> None:
        """Look at the connection again in a moment."""
        self._watch = self.loop.call_later(_LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        """Close the connection when a limit is passed, or look again later."""
        if self.transport.is_closing():
            # What was answered and is not read keeps a closing connection open, too.
            self._unread_s += _LOOK_EVERY_S
            if self._unread_s > self.settings.stall_timeout_s:
                self.transport.abort()
                return
        elif not self._check_reader() or not self._check_sender():
            return
        self._look_later()

    def _check_reader(self) -> bool:
        """Drop a client that does not read its answer; tell whether it stays."""
        self._unread_s = self._unread_s + _LOOK_EVERY_S if self.flow.write_paused else 0.0
        if self._unread_s > self.settings.stall_timeout_s:
            self.transport.abort()
            return False
        return True

    def _check_sender(self) -> bool:
        """Refuse a client that sends head or body too slowly; tell whether it stays."""
        phase = self._present_phase()
        if (phase, self.cycle) != self._phase:
            self._phase, self._phase_s, self._received = (phase, self.cycle), 0.0, 0
            return True
        if phase is None:
            return True
        self._phase_s += _LOOK_EVERY_S
        if phase == "head" and self._phase_s > self.settings.head_timeout_s:
            self._refuse(_timeout("the head of the request did not come in time"))
            return False
        if phase == "linger" and self._phase_s > _LINGER_S:
            self.transport.close()
            return False
        if phase == "body" and self._phase_s > self.settings.stall_timeout_s:
            if self._received < self.settings.min_upload_rate * self._phase_s:
                self._refuse(_timeout("the body of the request stopped coming, or comes too slowly"))
                return False
            self._phase_s, self._received = 0.0, 0
        return True

    def _present_phase(self) -> str | None:
        """Tell what the client is to send now, None when nothing is asked of it."""
        their_state = self.conn.their_state
        if their_state is h11.IDLE:
            # Between two requests the server's own keep-alive timer counts.
            fresh = self.cycle is None
            return "head" if fresh or self.conn.trailing_data[0] else None
        if their_state is h11.SEND_BODY:
            if self.cycle.response_complete:
                return "linger"
            waiting = not self.flow.read_paused and not self.cycle.waiting_for_100_continue
            return "body" if waiting else None
        return None

    def _refuse(self, error: ServiceError) -> None:
        """Answer with a problem, if an answer can still be given, and close; the application sees a disconnect."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            scope = self.scope if self.cycle is not None and not self.cycle.response_complete else _unknown_scope()
            response = respond(Request(dict(scope)), error)
            headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
            reason = HTTPStatus(response.status_code).phrase
            events = (
                h11.Response(status_code=response.status_code, headers=headers, reason=reason),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            )
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


def with_limits(settings: Settings) -> type[GuardedProtocol]:
    """Give the protocol class with the limits of these settings, as the server makes instances by class."""
    return type("LimitedProtocol", (GuardedProtocol,), {"settings": settings})


def _timeout(detail: str) -> ServiceError:
    """Give the error for a client that is too slow."""
    return ServiceError("request-timeout", "The request took too long", detail, hint="send it again")


def _unknown_scope() -> dict[str, Any]:
    """Give the scope of a request of which nothing is known."""
    state = {"request_id": secrets.token_hex(8)}
    return {"type": "http", "method": "", "path": "", "headers": [], "query_string": b"", "state": state}
