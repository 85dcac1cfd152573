"""Clients that are slow, silent or no HTTP clients at all cost nothing for long."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import urlsplit

from access_fixtures import HEAD_TIMEOUT_S, MIN_RATE, STALL_TIMEOUT_S, answer_to, assert_problem
from service_fixtures import Service

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'


def upload(key: str) -> bytes:
    return HEAD + f"Authorization: Bearer {key}\r\nContent-Length: 1000000\r\n\r\n".encode() + PART


def test_a_head_that_comes_byte_by_byte_is_cut_off(locked: Service) -> None:
    start = time.monotonic()
    pieces = [b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ", *[b"a"] * 200]
    assert_problem(answer_to(locked, *pieces, pause_s=0.1), 408, "request-timeout")
    assert HEAD_TIMEOUT_S < time.monotonic() - start < HEAD_TIMEOUT_S + 10


def test_a_connection_that_says_nothing_is_cut_off(locked: Service) -> None:
    assert_problem(answer_to(locked), 408, "request-timeout")


def test_a_second_head_that_does_not_come_is_cut_off(locked: Service) -> None:
    first = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    address = urlsplit(locked.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(first + first[:20])
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 408" in received


def test_an_upload_that_stalls_or_trickles_is_given_up_and_leaves_nothing(locked: Service, key_a: str) -> None:
    before = locked.stored_ids()
    assert_problem(answer_to(locked, upload(key_a)), 408, "request-timeout")
    trickle = [b"x" * (MIN_RATE // 40)] * 300
    start = time.monotonic()
    problem = assert_problem(answer_to(locked, upload(key_a), *trickle, pause_s=0.1), 408, "request-timeout")
    assert problem["instance"] == "/ears/v1/jobs"
    assert time.monotonic() - start > STALL_TIMEOUT_S
    # The answer is sent first, then the file goes.
    until(lambda: locked.stored_ids() == before)


def test_an_upload_that_breaks_off_leaves_nothing(locked: Service, key_a: str) -> None:
    before = locked.stored_ids()
    address = urlsplit(locked.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(upload(key_a))
        until(lambda: locked.stored_ids() != before)
    until(lambda: locked.stored_ids() == before)


def until(reached: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_goes_on_sending_after_its_answer_is_cut_off(locked: Service) -> None:
    address = urlsplit(locked.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")
        sent, start = 0, time.monotonic()
        try:
            while time.monotonic() - start < 20:
                sent += connection.send(b"x" * 1000)
                time.sleep(0.05)
        except OSError:
            pass
        assert 3 < time.monotonic() - start < 19


def test_what_is_no_http_and_heads_too_large_are_problems(locked: Service) -> None:
    assert_problem(answer_to(locked, b"\x16\x03\x01 hello\r\n\r\n"), 400, "bad-request")
    for end in (b"\r\n\r\n", b""):
        huge = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 30_000 + end
        assert_problem(answer_to(locked, huge), 431, "head-too-large")


def test_connections_over_the_cap_are_told_so(locked: Service) -> None:
    address = urlsplit(locked.url)
    with ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))
            for _ in range(41)
        ]
        received = b""
        while piece := held[-1].recv(65536):
            received += piece
        assert received.startswith(b"HTTP/1.1 503 Service Unavailable")
        assert b"/problems/too-many-connections" in received
    until(lambda: locked.http.get("/livez").status_code == 200)
