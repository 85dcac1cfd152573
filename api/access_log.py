"""One line and one observation per request, by the template of its route: never the raw path or query string."""

from __future__ import annotations

import logging
import time

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client import Counter as RequestCounter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.logs import EXTRA

_log = logging.getLogger("api.access")

UNMATCHED = "unmatched"
"""Stands for all addresses where there is nothing."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class HttpMetrics:
    """What is counted about requests: by this process alone, since its start.

    A scraper adds up several processes; a rate stays right over restarts.
    """

    def __init__(self) -> None:
        """Register the metrics in a registry of their own."""
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = RequestCounter(
            "cochlear_http_requests", "Requests this process answered.", labels, registry=self.registry
        )
        self._seconds = Histogram(
            "cochlear_http_request_seconds",
            "Time to the end of the answer, in this process.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def count(self, method: str, route: str, status: str, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)


class AccessLogMiddleware:
    """Logs and counts each request when its answer has ended; stands inside `RequestIdMiddleware`.

    Args:
        app: the application inside.
        metrics: takes the counts.
    """

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        """Wrap an application."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begin = time.perf_counter()
        try:
            await self._app(scope, receive, send_noted)
        except Exception:
            # Only noted here, whatever it is; it goes on to whoever answers it.
            status = status or 500
            raise
        finally:
            self._note(scope, status, time.perf_counter() - begin)

    def _note(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Log and count a request; without a status, the client left before the answer."""
        route = getattr(scope.get("route"), "path", UNMATCHED)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.count(method, route, "none" if status is None else str(status), seconds)
        caller = scope.get("state", {}).get("caller")
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "duration_s": round(seconds, 4),
            "key_id": getattr(caller, "key_id", None),
        }
        _log.info("request", extra={EXTRA: fields})
