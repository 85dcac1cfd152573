"""One service that asks for keys, for all tests of this folder."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from service_fixtures import COMMAND, Service

MAX_ACTIVE = 5
HEAD_TIMEOUT_S = 1.0
STALL_TIMEOUT_S = 1.0
MIN_RATE = 20_000

MakeKey = Callable[..., str]
AsKey = Callable[[str], httpx.Client]


def run_keys(data_dir: Path, *arguments: str) -> str:
    """Run `cochlear keys` and give what it prints."""
    command = [*COMMAND, "keys", *arguments, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


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
        "COCHLEAR_ROOT_PATH": "/ears",
        "COCHLEAR_TRUSTED_PROXIES": "127.0.0.1",
    }
    with Service(tmp_path_factory.mktemp("locked"), checkpoints, **settings) as service:
        yield service


@pytest.fixture(scope="session")
def key_a(locked: Service) -> str:
    """A key that may submit and read, made while the service runs."""
    return run_keys(locked.data_dir, "create", "--name", "A", "--scope", "submit", "--scope", "read")


@pytest.fixture(scope="session")
def key_b(locked: Service) -> str:
    """Another such key."""
    return run_keys(locked.data_dir, "create", "--name", "B")


@pytest.fixture(scope="session")
def key_reader(locked: Service) -> str:
    """A key that may only read."""
    return run_keys(locked.data_dir, "create", "--name", "reader", "--scope", "read")


@pytest.fixture(scope="session")
def key_admin(locked: Service) -> str:
    """A key that may do everything."""
    return run_keys(locked.data_dir, "create", "--name", "admin", "--scope", "admin")


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
