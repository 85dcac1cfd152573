"""A worker that lives and beats but hears nothing shows, ends itself, and costs no job."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from service_fixtures import Ear, Service, as_json
from tcp_proxy import TcpProxy

from worker.embedded_redis import redis_executable
from worker.jobs import JobState
from worker.processes import start_child, stop_child

DEAF_AFTER_S = 3.0


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis server on TCP."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    folder = str(tmp_path_factory.mktemp("redis"))
    child = start_child([redis_executable(), "--port", str(port), "--dir", folder, "--save", "", "--bind", "127.0.0.1"])
    client = Redis(port=port)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            client.ping()
            break
        except RedisError:
            time.sleep(0.05)
    client.close()
    yield port
    stop_child(child, 5)


def wait_for_readiness(service: Service, status: int, within_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + within_s
    while True:
        response = service.http.get("/readyz")
        if response.status_code == status:
            return as_json(response)
        assert time.monotonic() < deadline, response.text + "".join(service.log[-40:])
        time.sleep(0.1)


def test_a_deaf_worker_shows_ends_itself_and_no_job_is_lost(
    tmp_path: Path, checkpoints: Path, ear: Ear, redis_port: int
) -> None:
    with TcpProxy(("127.0.0.1", redis_port)) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        settings = {"COCHLEAR_REDIS_URL": url, "COCHLEAR_DEAF_AFTER_S": str(DEAF_AFTER_S)}
        with Service(tmp_path, checkpoints, **settings) as service:
            wait_for_readiness(service, 200, 10)
            worker, _ = service.worker_ids()
            name = f"{socket.gethostname()}:{worker}"
            assert service.http.get("/startupz").status_code == 200
            proxy.deaf.set()
            begin = time.monotonic()
            found = wait_for_readiness(service, 503, DEAF_AFTER_S + 20)
            assert found["checks"]["redis"]["ok"], "only the connection that waits for messages is dead"
            assert not found["checks"]["worker"]["ok"]
            assert found["checks"]["worker"]["reason"] == f"1 worker beats, 0 consume; deaf: {name}"
            assert service.http.get("/startupz").status_code == 200
            assert service.store.live_workers() == [name], "it beats"
            job = service.submit(ear)
            while os.path.exists(f"/proc/{worker}") and time.monotonic() - begin < 4 * DEAF_AFTER_S + 30:
                time.sleep(0.05)
            assert not os.path.exists(f"/proc/{worker}"), "it ends itself, and its supervisor has collected it"
            assert proxy.dropped > 0
            proxy.deaf.clear()
            wait_for_readiness(service, 200, 60)
            record = service.wait_until_finished(job["id"])
            # On a busy machine the short limit of this test may take a slow start for a death.
            assert record.state is JobState.SUCCEEDED
            assert record.attempt <= 2
            assert any("hears nothing" in line for line in service.log)
            assert any("status 75 and is started again" in line for line in service.log)
            metrics = service.http.get("/metrics").text
            assert 'cochlear_jobs_ended_total{state="succeeded"} 1.0' in metrics
            keys = {key for key in service.store._redis.scan_iter("cochlear:broker:*") if name in key}
            assert all(service.store._redis.ttl(key) > 0 for key in keys), "nothing is left of it for long"
            bound = service.store._redis.smembers("cochlear:broker:_kombu.binding.cochlear")
            assert not any("canary" in member for member in bound)
            unacked = service.store._redis.hvals("cochlear:broker:unacked")
            assert not any("canary" in message for message in unacked)
