"""Probes answer fast and truly: a Redis that takes no writes or hangs, a full disk, a broken bundle."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from redis import Redis
from service_fixtures import BUNDLE, Ear

from api.app import create_app
from api.health import check_bundle, check_workers
from worker.embedded_redis import EmbeddedRedis
from worker.presence import BROKEN, LOADED, LOADING, Presence
from worker.redis_connection import connect
from worker.settings import Settings


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as server:
        yield server


def probe(app: FastAPI) -> tuple[int, str]:
    """Give status and what is said about Redis."""
    with TestClient(app, base_url="http://127.0.0.1") as client:
        begin = time.monotonic()
        response = client.get("/readyz")
        assert time.monotonic() - begin < 1.0
        assert client.get("/livez").status_code == 200
        assert client.get("/startupz").status_code == 503
        return response.status_code, response.json()["checks"]["redis"]["reason"]


def settings_for(redis: EmbeddedRedis, folder: Path, **changes: object) -> Settings:
    return Settings.model_validate({"redis_url": redis.url, "data_dir": folder, "bundle": "small", **changes})


def test_redis_that_takes_no_writes_is_told_with_the_reason(redis: EmbeddedRedis, tmp_path: Path) -> None:
    settings = settings_for(redis, tmp_path)
    assert probe(create_app(settings)) == (503, "takes writes")
    with Redis.from_url(redis.url) as client:
        client.config_set("maxmemory", 1)
        assert probe(create_app(settings)) == (503, "has no memory left for writes")
        client.config_set("maxmemory", 0)
        client.replicaof("127.0.0.1", "1")
        assert probe(create_app(settings)) == (503, "is a read-only replica")
        client.replicaof("NO", "ONE")
        assert probe(create_app(settings)) == (503, "takes writes")
    redis.stop()
    assert probe(create_app(settings)) == (503, "cannot be reached")


def test_a_redis_that_hangs_costs_a_probe_less_than_a_second_and_many_share_one_look(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"redis://127.0.0.1:{hole.getsockname()[1]}/0"
        app = create_app(Settings(redis_url=url, data_dir=tmp_path))
        assert probe(app) == (503, "does not answer in time")

        async def many() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return list(await asyncio.gather(*(client.get("/readyz") for _ in range(50))))

        begin = time.monotonic()
        answers = asyncio.run(many())
        assert time.monotonic() - begin < 1.5
        assert {answer.status_code for answer in answers} == {503}


def test_a_nearly_full_disk_shows_and_refuses_uploads(redis: EmbeddedRedis, tmp_path: Path, ear: Ear) -> None:
    settings = settings_for(redis, tmp_path, min_free_bytes=2**62, access="open")
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert not ready.json()["checks"]["disk"]["ok"]
        response = client.post("/v1/jobs", **ear.form())
        assert (response.status_code, response.json()["type"]) == (503, "/problems/storage-full")
        assert int(response.headers["retry-after"]) > 0
        assert not (tmp_path / "uploads").exists()


def test_workers_that_beat_without_hearing_are_named(redis: EmbeddedRedis, checkpoints: Path) -> None:
    presence = Presence(connect(redis.url), stale_after_s=30, deaf_after_s=0.5)

    def says() -> tuple[bool, str, bool, str]:
        states = presence.workers()
        workers, bundle = check_workers(states), check_bundle(BUNDLE, checkpoints, states)
        return workers.ok, workers.reason, bundle.ok, bundle.reason

    assert says() == (False, "0 workers beat, 0 consume", False, "no worker has loaded small yet")
    now = presence.now()
    presence.redis.zadd("cochlear:workers", {"here:1": now, "here:2": now})
    presence.note_consumed("here:1")
    presence.note("here:1", {"bundle": "small", "bundle_state": BROKEN, "bundle_problem": "damaged-bundle"})
    assert says() == (
        True,
        "2 workers beat, 1 consumes; deaf: here:2",
        False,
        "small cannot be loaded: damaged-bundle",
    )
    presence.note("here:2", {"bundle": "small", "bundle_state": LOADED})
    time.sleep(0.6)
    assert says() == (False, "2 workers beat, 0 consume; deaf: here:1, here:2", True, "small is loaded")
    presence.note("here:1", {"bundle": "small", "bundle_state": LOADING})
    assert says()[:2] == (True, "2 workers beat, 1 consumes; deaf: here:2"), "it takes no messages while it loads"
    presence.forget("here:2")
    assert presence.redis.hgetall("cochlear:worker:here:2") == {}
    presence.redis.close()
