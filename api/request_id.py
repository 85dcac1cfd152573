"""A name for every request, taken from the caller or made, given back and logged; and its trace context."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import trace_context
from worker.log_context import bound

HEADER = "X-Request-Id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    """Puts request id and trace context into the scope, the log lines and the response.

    Args:
        app: the application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(HEADER, "")
        trace = trace_context.valid_traceparent(headers.get(trace_context.HEADER, ""))
        # What the caller sends goes into logs and headers, so only harmless characters are taken over.
        request_id = given if _WELL_FORMED.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
                if trace is not None:
                    MutableHeaders(scope=message)[trace_context.HEADER] = trace
            await send(message)

        with bound(request_id=request_id, traceparent=trace):
            await self._app(scope, receive, send_named)


def request_id_of(request: Request) -> str | None:
    """Give the id of a request."""
    value = request.scope.get("state", {}).get("request_id")
    return None if value is None else str(value)
