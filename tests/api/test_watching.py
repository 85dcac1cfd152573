"""Those who wait are woken by messages, and without them; on a real Redis server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from api.watching import Watch
from worker import lifecycle
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore
from worker.jobs import JobRecord
from worker.redis_connection import connect, key


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


def make(store: JobStore, job_id: str) -> JobRecord:
    now = store.now()
    record = JobRecord(
        id=job_id, created_at=now, updated_at=now, bundle="b", side="left", formats=("vtk",), input_name="input.nii"
    )
    return store.create(record)


async def settled(watch: Watch) -> None:
    """Start, and wait until the listener has subscribed and those of before have been looked at."""
    await watch.start()
    await asyncio.sleep(0.5)


def test_a_change_wakes_whom_it_concerns(redis_url: str) -> None:
    store = JobStore(redis_url)

    async def check() -> None:
        watch = Watch(redis_url)
        await settled(watch)
        for job_id in ("one", "two"):
            make(store, job_id)
        await asyncio.sleep(0.3)
        with watch.waiter("one") as first, watch.waiter("two") as second:
            lifecycle.claim(store, "one", "w:1", 2)
            assert await first.sleep(2)
            assert await second.sleep(2), "its place in the queue has changed"
            first.rearm()
            second.rearm()
            begun = time.monotonic()
            lifecycle.report_progress(store, "one", "w:1", "mesh", 0.7)
            assert await first.sleep(2)
            assert time.monotonic() - begun < 1, "by message, not by comparing"
        await watch.stop()
        assert watch.waiting == 0

    asyncio.run(check())
    store.close()


def test_a_lost_message_costs_seconds_only(redis_url: str) -> None:
    store, redis = JobStore(redis_url), connect(redis_url)

    async def check() -> None:
        watch = Watch(redis_url)
        await settled(watch)
        record = make(store, "silent")
        with watch.waiter("silent") as waiter:
            await asyncio.sleep(4)
            waiter.rearm()
            redis.set(key("job", "silent"), record.model_copy(update={"progress": 0.3}).model_dump_json())
            assert await waiter.sleep(8)
            # The connection of the listener breaks; it listens again.
            assert redis.client_kill_filter(_type="pubsub") == 1
            await asyncio.sleep(1.5)
            waiter.rearm()
            lifecycle.claim(store, "silent", "w:1", 2)
            assert await waiter.sleep(2)
        await watch.stop()

    asyncio.run(check())
    store.close()
    redis.close()


def test_closing_lets_everybody_go(redis_url: str) -> None:
    async def check() -> None:
        watch = Watch(redis_url)
        await settled(watch)
        with watch.waiter("none") as waiter:
            waiter.rearm()
            asyncio.get_running_loop().call_later(0.1, watch.close)
            assert await waiter.sleep(5)
            assert watch.closing
        await watch.stop()

    asyncio.run(check())
