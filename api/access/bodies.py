"""Caps on request bodies, on every route, before anything parses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import ServiceError, respond
from worker.settings import Settings

SMALL_BODY_BYTES = 64 * 1024
"""Cap of every route that takes no upload."""
UPLOAD_OVERHEAD_BYTES = 1024 * 1024
"""What the small fields and the multipart framing may add to the image."""

_BATCH_OVERHEAD_BYTES = 4 * UPLOAD_OVERHEAD_BYTES
"""The same for a batch, which has a manifest."""

UPLOADS: Mapping[tuple[str, str], Callable[[Settings], int]] = {
    ("POST", "/v1/jobs"): lambda settings: settings.max_upload_bytes + UPLOAD_OVERHEAD_BYTES,
    ("POST", "/v1/batches"): lambda settings: settings.max_batch_bytes + _BATCH_OVERHEAD_BYTES,
}
"""Routes that take uploads, by method and path, with their caps in bytes."""


class BodyCapMiddleware:
    """Refuses a body that is declared or found to be over the cap of its route.

    Args:
        app: the application inside.
        settings: names the cap on images.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Wrap an application."""
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        upload = UPLOADS.get((scope["method"], path))
        cap = SMALL_BODY_BYTES if upload is None else upload(self._settings)
        error = _too_large(cap, "body-too-large" if upload is None else "upload-too-large")
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > cap:
            await respond(Request(scope), error)(scope, receive, send)
            return
        capped = _CappedExchange(scope, receive, send, cap, error)
        try:
            await self._app(scope, capped.receive, capped.send)
        except Exception:
            # What the application makes of a body that broke off matters no more: the answer is given.
            if not capped.exceeded:
                raise


class _CappedExchange:
    """One request whose body is counted; over the cap it is answered here and the application sees a disconnect."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, cap: int, error: ServiceError) -> None:
        """Count from nothing."""
        self._scope, self._receive, self._send = scope, receive, send
        self._cap, self._error = cap, error
        self._count = 0
        self._started = False
        self.exceeded = False

    async def receive(self) -> Message:
        """Give the next message of the client."""
        if self.exceeded:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._count += len(message.get("body", b""))
        if self._count <= self._cap:
            return message
        self.exceeded = True
        if not self._started:
            await respond(Request(self._scope), self._error)(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass on the answer of the application, unless one was given already."""
        if self.exceeded and not self._started:
            return
        self._started = True
        await self._send(message)


def _too_large(cap: int, code: str) -> ServiceError:
    """Give the error for a body over the cap."""
    return ServiceError(
        code,
        "The body is too large",
        "the body of the request is larger than this address takes",
        expected=f"at most {cap} bytes",
        found="more",
    )
