"""Redis with TLS and a password: every kind of connection works, and what is wrong is said clearly."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from redis.exceptions import RedisError

from api.access.rate import RateLimit
from api.health import HealthChecks
from api.watching import Watch
from benchmarks.redis_server import PASSWORD, QUOTED, Authority, RedisServer, make_authority, why_no_tls
from worker import redis_errors
from worker.job_store import JobStore
from worker.queue import JobQueue
from worker.redis_connection import check_address, connect
from worker.settings import Settings


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    reason = why_no_tls()
    if reason is not None:
        pytest.skip(reason)
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with RedisServer(tmp_path_factory.mktemp("redis"), port, authority) as running:
        yield running


def test_records_queue_and_rate_limit_pass_through_tls(server: RedisServer) -> None:
    settings = Settings(redis_url=server.url)
    store = JobStore(server.url)
    assert store.now().year > 2000
    queue = JobQueue(settings)
    queue.send("job", "gpu")
    assert not queue.is_empty(["gpu"])
    queue.close()
    store.close()

    async def limited() -> None:
        await RateLimit(server.url, 5.0).count("somebody")

    asyncio.run(limited())


def test_the_listener_hears_through_tls(server: RedisServer) -> None:
    async def hear() -> bool:
        watch = Watch(server.url)
        await watch.start()
        with watch.waiter("job") as waiter:
            await waiter.sleep(1.0)
            waiter.rearm()
            speaker = connect(server.url)
            threading.Timer(0.3, lambda: speaker.publish("cochlear:changes", "job")).start()
            woken = await waiter.sleep(2.5)
        await watch.stop()
        return woken

    assert asyncio.run(hear())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url, other: url.replace(QUOTED, "wrong"), "refuses the password"),
        (lambda url, other: url.replace(f":{QUOTED}@", ""), "refuses the password, or wants one"),
        (lambda url, other: url.partition("?")[0] + f"?ssl_ca_certs={other}", "certificate that is not trusted"),
        (lambda url, other: url.partition("?")[0], "certificate that is not trusted"),
        (lambda url, other: url.replace("localhost", "127.0.0.1"), "certificate that is not trusted"),
        (lambda url, other: "redis" + url.partition("?")[0].removeprefix("rediss"), "cannot be reached"),
    ],
    ids=["wrong password", "no password", "wrong authority", "system's authorities", "wrong name", "no TLS"],
)
def test_what_is_wrong_is_said_and_the_service_is_not_ready(
    server: RedisServer, tmp_path: Path, change: object, words: str
) -> None:
    other = make_authority(tmp_path / "other").ca
    assert callable(change)
    url = change(server.url, other)
    with pytest.raises(RedisError) as caught:
        connect(url).ping()
    assert words in redis_errors.reason(caught.value)
    found = asyncio.run(HealthChecks(Settings(redis_url=url, data_dir=tmp_path)).look())
    assert not found.ready
    assert words in found.checks["redis"].reason
    assert PASSWORD not in found.model_dump_json()
    # The queue trusts no more than the records do; asking it takes a connection of its own, where sending may take
    # one that kombu keeps for all addresses of the same server.
    queue = JobQueue(Settings(redis_url=url))
    with pytest.raises(Exception, match=r"(?i)certificate|password|auth|connect|closed|reset") as refused:
        queue.is_empty(["cpu"])
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:6379",
        "rediss://localhost/0?ssl_cert_reqs=none",
        "redis://localhost/0?ssl_ca_certs=/etc/passwd",
        "rediss://:secret@localhost/0?ssl_ca_certs=/nonexistent/ca.crt",
    ],
)
def test_an_address_that_would_not_check_the_server_is_refused_at_start(url: str) -> None:
    with pytest.raises(ValueError, match=r"must begin|may have|not there") as caught:
        check_address(url)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValidationError):
        Settings(redis_url=url)
