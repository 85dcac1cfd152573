"""The door: every request is let in or refused before anything of it is parsed."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.caller import OPEN, Caller
from api.access.heads import check_head
from api.access.keys import KeyFile, KeyRing
from api.access.origin import check_local
from api.access.rate import RateLimit
from api.problems import ServiceError, respond, respond_redis_away
from model.errors import CochlearError
from worker.settings import Settings

_log = logging.getLogger(__name__)

WITHOUT_KEY = frozenset({"/livez", "/readyz", "/startupz"})
"""What load balancers ask without a key; not counted either."""
_HOW_TO = "make a key with `cochlear keys create` on the server, and send it as `Authorization: Bearer KEY`"


class Guard:
    """Decides who a caller is and whether it may come now.

    Args:
        settings: with `access` settled; unsettled counts as `keys`.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the keys, so that a damaged file shows at the start.

        Raises:
            KeyFileError: when keys are asked for and their file cannot be used.
        """
        self._ring = None if settings.access == "open" else KeyRing(KeyFile(settings.key_file))
        self._rate = RateLimit(settings.required_redis_url(), settings.max_requests_per_s)
        if self._ring is not None and self._ring.empty:
            _log.warning("API keys are required and there is none yet: make one with `cochlear keys create`")

    async def admit(self, scope: Scope) -> Caller:
        """Give the caller of a request.

        Raises:
            ServiceError: when it is not let in.
            KeyFileError: when the keys cannot be read.
            RedisError: when requests cannot be counted.
        """
        if self._ring is None:
            check_local(scope)
            caller, name = OPEN, f"address:{(scope.get('client') or ('none', 0))[0]}"
        else:
            caller = _identify(self._ring, Headers(scope=scope))
            name = f"key:{caller.key_id}"
        await self._rate.count(name)
        return caller

    async def close(self) -> None:
        """Close the connections."""
        await self._rate.close()


class GuardMiddleware:
    """Puts the caller into the scope, or answers the request itself.

    Args:
        app: the application inside.
        guard: decides.
    """

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        """Wrap an application."""
        self._app, self._guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            try:
                check_head(scope)
                if scope["path"].removeprefix(scope.get("root_path", "")) not in WITHOUT_KEY:
                    scope.setdefault("state", {})["caller"] = await self._guard.admit(scope)
            except CochlearError as error:
                await respond(Request(scope), error)(scope, receive, send)
                return
            except RedisError as error:
                await respond_redis_away(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _identify(ring: KeyRing, headers: Headers) -> Caller:
    """Give the caller whose key a request carries.

    Raises:
        ServiceError: when it carries none, several, or one that is not valid.
    """
    given = _given_keys(headers)
    if len(given) != 1:
        detail = "the request carries no API key" if not given else "the request carries several API keys"
        raise _unauthorized(detail, 'Bearer realm="cochlear"', ring)
    kept = ring.find(given[0])
    if kept is None:
        detail = "the API key is wrong, has expired, or was revoked"
        raise _unauthorized(detail, 'Bearer realm="cochlear", error="invalid_token"', ring)
    return Caller(kept.id, kept.scopes)


def _given_keys(headers: Headers) -> list[str]:
    """Give the different keys that a request carries (RFC 6750, section 2.1, or `X-API-Key`)."""
    keys = [key.strip() for key in headers.getlist("x-api-key")]
    for value in headers.getlist("authorization"):
        scheme, _, credentials = value.partition(" ")
        if scheme.lower() == "bearer":
            keys.append(credentials.strip())
    return list(dict.fromkeys(keys))


def _unauthorized(detail: str, challenge: str, ring: KeyRing) -> ServiceError:
    """Give the error for a request that is not known to come from anybody."""
    hint = f"this service has no key yet: {_HOW_TO}" if ring.empty else _HOW_TO
    headers: Mapping[str, str] = {"WWW-Authenticate": challenge}
    return ServiceError(
        "unauthorized", "An API key is needed", detail, expected="a valid API key", hint=hint, headers=headers
    )
