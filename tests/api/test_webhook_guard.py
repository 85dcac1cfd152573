"""Where webhooks may go: nowhere private, however it is written."""

from __future__ import annotations

import ipaddress

import pytest

from api.webhooks.guard import Guard, UnsafeTargetError, is_public, parse

PRIVATE = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.1.2.3",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "::8.8.8.8",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:a9fe:a9fe::",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "100::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.32.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_are_refused(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(UnsafeTargetError, match="private network") as caught:
        Guard().check(f"https://{host}/hook")
    assert text not in str(caught.value.found)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_taken(text: str) -> None:
    host = f"[{text}]" if ":" in text else text
    assert str(Guard().check(f"https://{host}:8443/hook").address) == str(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "host", ["localhost", "2130706433", "0x7f.1", "127.1", "017700000001", "LOCALHOST.", "127。0。0。1"]
)
def test_other_spellings_of_the_loopback_are_refused(host: str) -> None:
    with pytest.raises(UnsafeTargetError):
        Guard().check(f"https://{host}/")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "ftp://1.1.1.1/",
        "file:///etc/passwd",
        "https://",
        "https://u:p@1.1.1.1/",
        "https://1.1.1.1:0/",
        "https://1.1.1.1/#x",
        "https://1.1.1.1:99999/",
        "https://1.1.1.1/" + "x" * 2000,
        "https://a b/",
        "gopher://1.1.1.1",
        "https://1.1.1.1/\r\nX: y",
        "https://[::1",
    ],
)
def test_what_is_no_web_address_is_refused(text: str) -> None:
    with pytest.raises(UnsafeTargetError, match="usable address"):
        parse(text)


def test_plain_http_is_for_allowed_hosts_only() -> None:
    with pytest.raises(UnsafeTargetError, match="not encrypted"):
        Guard().check("http://1.1.1.1/")
    with pytest.raises(UnsafeTargetError, match="private"):
        Guard(["10.0.0.0/8"]).check("http://192.168.0.1/")
    assert str(Guard(["10.0.0.0/8"]).check("http://10.1.2.3/").address) == "10.1.2.3"
    assert str(Guard(["::1"]).check("http://[::1]/").address) == "::1"
    assert Guard(["localhost"]).check("http://LocalHost:81/").address.is_loopback


def test_one_private_address_among_several_condemns_a_name() -> None:
    url, addresses = parse("https://example.org/"), [ipaddress.ip_address(text) for text in ("1.1.1.1", "10.0.0.1")]
    with pytest.raises(UnsafeTargetError, match="private"):
        Guard().choose(url, addresses)
    assert str(Guard(["10.0.0.0/8"]).choose(url, addresses).address) == "1.1.1.1"


def test_a_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnsafeTargetError, match="not known"):
        Guard().check("https://nothing.invalid/")
