"""Who may come without a key when access is open: programs on this machine, and no page of another site.

A page that a user of this machine looks at can make the browser send requests to localhost, so listening on a loopback
address alone is no protection. Browsers tell on themselves: by `Sec-Fetch-Site` (W3C Fetch Metadata), by `Origin`
(RFC 6454), and, where a foreign name was made to resolve to this machine (DNS rebinding), by that name in `Host`.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from api.problems import ServiceError

_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only mean this machine."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def check_local(scope: Scope) -> None:
    """Check that a request came from a program on this machine.

    Raises:
        ServiceError: it came over the network, through a proxy, or from the page of another site.
    """
    server, headers = scope.get("server"), Headers(scope=scope)
    if server is None or not is_loopback(server[0]):
        raise _not_local("requests over the network need an API key, and this service was started without keys")
    if any(name in headers for name in _PROXY_HEADERS):
        raise _not_local("a proxy passes on requests of others, and this service was started without keys")
    host = headers.getlist("host")
    if len(host) != 1 or not is_loopback(_host_of(f"//{host[0]}")):
        raise _foreign("the request names a host that is not this machine", "Host: localhost")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise _foreign("a page of another site sent this request", "a request of no other site")
    origin = headers.get("origin")
    if origin is not None and _netloc_of(origin) != host[0].lower():
        raise _foreign("a page of another origin sent this request", "no Origin, or that of this service")


def _host_of(address: str) -> str:
    """Give the host of an address, empty when it has none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _netloc_of(origin: str) -> str:
    """Give host and port of an origin in lower case, empty when it is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _not_local(detail: str) -> ServiceError:
    """Give the error for a request from elsewhere."""
    return ServiceError(
        "not-local",
        "Only programs on this machine are served",
        detail,
        hint="set COCHLEAR_ACCESS=keys and make a key with `cochlear keys create`",
    )


def _foreign(detail: str, expected: str) -> ServiceError:
    """Give the error for a request of a foreign page."""
    return ServiceError("foreign-origin", "Pages of other sites are not served", detail, expected=expected)
