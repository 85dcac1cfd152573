"""A running service that asks for keys, and clients that speak to it well or badly."""

from __future__ import annotations

import http.client
import select
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from service_fixtures import Service, as_json

from api.access.caller import Scope
from api.access.keys import KeyFile, new_key
from api.problems import MEDIA_TYPE

MAX_ACTIVE = 5
HEAD_TIMEOUT_S = 1.0
STALL_TIMEOUT_S = 1.0
MIN_RATE = 20_000

AsKey = Callable[[str], httpx.Client]


def make_key(data_dir: Path, *scopes: Scope, expires_at: datetime | None = None) -> str:
    """Add a key to the file of a service and give its text."""
    kept, text = new_key("test", scopes, expires_at)
    KeyFile(data_dir / "keys.json").add(kept)
    return text


def answer_to(service: Service, *pieces: bytes, pause_s: float = 0.0, timeout_s: float = 20.0) -> httpx.Response | None:
    """Send bytes as they are, with pauses between the pieces, and give the answer; None when there was none."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=timeout_s) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            if select.select([connection], [], [], pause_s)[0]:
                break
        reply = http.client.HTTPResponse(connection)
        try:
            reply.begin()
        except http.client.RemoteDisconnected:
            return None
        return httpx.Response(reply.status, headers=reply.getheaders(), content=reply.read())


def assert_problem(response: httpx.Response | None, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem document with all headers of safety."""
    assert response is not None, "the connection was closed without an answer"
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = as_json(response)
    assert (problem["type"], problem["status"]) == (f"/problems/{code}", status)
    assert problem["request_id"] == response.headers["x-request-id"]
    assert_safe(response)
    return problem


def assert_safe(response: httpx.Response) -> None:
    """Check the headers that every answer carries."""
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"]
    assert "server" not in response.headers


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> Iterator[Service]:
    """A service on a loopback address that nevertheless asks for keys, with limits low enough to be met."""
    settings = {
        "COCHLEAR_ACCESS": "keys",
        "COCHLEAR_MAX_UPLOAD_BYTES": "2000000",
        "COCHLEAR_MAX_ACTIVE_PER_KEY": str(MAX_ACTIVE),
        "COCHLEAR_HEAD_TIMEOUT_S": str(HEAD_TIMEOUT_S),
        "COCHLEAR_STALL_TIMEOUT_S": str(STALL_TIMEOUT_S),
        "COCHLEAR_MIN_UPLOAD_RATE": str(MIN_RATE),
        "COCHLEAR_MAX_CONNECTIONS": "40",
        "COCHLEAR_ROOT_PATH": "/ears",
        "COCHLEAR_TRUSTED_PROXIES": "127.0.0.1",
    }
    with Service(tmp_path_factory.mktemp("locked"), checkpoints, **settings) as service:
        yield service


@pytest.fixture(scope="session")
def key_a(locked: Service) -> str:
    """A key that may submit and read, made while the service runs."""
    return make_key(locked.data_dir, Scope.SUBMIT, Scope.READ)


@pytest.fixture(scope="session")
def key_b(locked: Service) -> str:
    """Another such key."""
    return make_key(locked.data_dir, Scope.SUBMIT, Scope.READ)


@pytest.fixture(scope="session")
def key_reader(locked: Service) -> str:
    """A key that may only read."""
    return make_key(locked.data_dir, Scope.READ)


@pytest.fixture(scope="session")
def key_admin(locked: Service) -> str:
    """A key that may do everything."""
    return make_key(locked.data_dir, Scope.ADMIN)


@pytest.fixture
def as_key(locked: Service) -> Iterator[AsKey]:
    """Give clients that send a key."""
    clients: list[httpx.Client] = []

    def client(key: str) -> httpx.Client:
        clients.append(httpx.Client(base_url=locked.url, headers={"Authorization": f"Bearer {key}"}, timeout=30))
        return clients[-1]

    yield client
    for made in clients:
        made.close()
