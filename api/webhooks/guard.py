"""Which addresses webhooks may reach: not the service's own network, unless the operator lists it.

Whoever submits a job chooses where the service connects to (server-side request forgery). The host is therefore
resolved and every address checked, when the job is submitted and again at each try; the connection goes to the very
address that was checked, so that a name that resolves differently a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import httpx

from model.errors import OptionError

FIELD = "webhook"
_MAX_LENGTH = 2000
_HOST = re.compile(rb"[0-9a-z._:-]+")
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
"""RFC 4291, section 2.5.5.1."""

Address = IPv4Address | IPv6Address


class UnsafeTargetError(OptionError):
    """A webhook's address cannot be used."""


@dataclass(frozen=True)
class Target:
    """An address that was found usable.

    Attributes:
        url: as given.
        address: IP address to connect to.
    """

    url: httpx.URL
    address: Address


class Guard:
    """Checks addresses against what the operator allows.

    Args:
        allow: host names, and networks in CIDR notation, that are allowed although private, and over plain http.
    """

    def __init__(self, allow: Sequence[str] = ()) -> None:
        """Tell names and networks apart."""
        self._names: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for word in allow:
            try:
                self._networks.append(ipaddress.ip_network(word.strip("[]"), strict=False))
            except ValueError:
                self._names.add(word)

    def check(self, text: str) -> Target:
        """Give where a webhook may connect to; looks the name up.

        Raises:
            UnsafeTargetError: when the address is malformed, unknown, private, or plain http without permission.
        """
        url = parse(text)
        return self.choose(url, _resolve(url))

    def choose(self, url: httpx.URL, addresses: Sequence[Address]) -> Target:
        """Give where to connect to, of a host's addresses.

        Raises:
            UnsafeTargetError: when any of them is private, or plain http is not permitted.
        """
        named = url.host.lower().rstrip(".") in self._names
        for address in addresses:
            # All of them: of a name with one public and one private address nobody knows which will be taken.
            if not named and not self._listed(address) and not is_public(address):
                raise _unsafe("the webhook points into a private network", "a public host, or one the operator allows")
        if url.scheme == "http" and not named and not all(map(self._listed, addresses)):
            raise _unsafe("the webhook is not encrypted", "an https address", "http")
        return Target(url, addresses[0])

    def _listed(self, address: Address) -> bool:
        """Tell whether the operator allows this very address."""
        return any(address.version == network.version and address in network for network in self._networks)


def parse(text: str) -> httpx.URL:
    """Read the address of a webhook.

    Raises:
        UnsafeTargetError: when it is no plain http or https address.
    """
    expected = "an address such as https://example.org/hook, without user, password and fragment"
    try:
        url = httpx.URL(text) if len(text) <= _MAX_LENGTH else None
        usable_port = url is not None and (url.port is None or 0 < url.port < 2**16)
    except (httpx.InvalidURL, ValueError):
        url, usable_port = None, False
    if (
        url is None
        or url.scheme not in _PORTS
        or not _HOST.fullmatch(url.raw_host)
        or not usable_port
        or url.userinfo
        or url.fragment
    ):
        raise _unsafe("the webhook is no usable address", expected)
    return url


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the public Internet (IANA special-purpose registries, RFC 6890).

    An IPv6 address that carries an IPv4 one (mapped, 6to4 RFC 3056, NAT64 RFC 6052) is judged by that one.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        inner = _embedded(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address.teredo is not None or address in _IPV4_COMPATIBLE:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that an IPv6 one leads to."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _resolve(url: httpx.URL) -> list[Address]:
    """Give all addresses of the host."""
    port = url.port or _PORTS[url.scheme]
    try:
        found = socket.getaddrinfo(url.raw_host.decode("ascii"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _unsafe("the webhook's host is not known", "a host with an address") from error
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in found))


def _unsafe(detail: str, expected: str, found: str | None = None) -> UnsafeTargetError:
    """Give the error for an address that is refused; what it resolves to is nobody's business."""
    return UnsafeTargetError(detail, expected=expected, found=found, field=FIELD)
