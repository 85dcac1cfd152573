"""Puts the protection around the application."""

from __future__ import annotations

from fastapi import FastAPI

from api.access.bodies import BodyCapMiddleware
from api.access.document import describe_access
from api.access.guard import Guard, GuardMiddleware
from api.access.headers import SecurityHeadersMiddleware
from worker.settings import Settings


def protect(app: FastAPI, settings: Settings) -> Guard:
    """Add, from the inside out, the caps on bodies, the check of the caller, and the security headers.

    Returns:
        The guard, to be closed at the end.
    """
    guard = Guard(settings)
    describe_access(app, is_open=settings.access == "open")
    app.add_middleware(BodyCapMiddleware, settings=settings)
    app.add_middleware(GuardMiddleware, guard=guard)
    app.add_middleware(SecurityHeadersMiddleware)
    return guard
