"""A worker that computes takes no messages, and is not deaf for that."""

from __future__ import annotations

from pathlib import Path

from worker import lifecycle
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore
from worker.jobs import JobRecord
from worker.presence import Presence
from worker.redis_connection import connect


def test_a_worker_is_busy_while_its_job_beats_and_not_longer(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis:
        store = JobStore(redis.url, 30.0)
        presence = Presence(connect(redis.url), 30.0, deaf_after_s=0.001)
        now = store.now()
        record = JobRecord(id="a", created_at=now, updated_at=now, bundle="b", side="left", formats=(), input_name="i")
        store.create(record)
        for worker in ("host:1", "host:2"):
            store.beat_worker(worker)
            presence.note_consumed(worker)
        lease = "host:1:token"
        assert lifecycle.claim(store, "a", lease, 3) is not None
        assert not presence.is_busy("host:1"), "an attempt that never beat may be dead"
        store.beat("a", lease)
        assert presence.is_busy("host:1")
        assert not presence.is_busy("host:2")
        presence.note("host:2", {"queues": "gpu"})
        served = {worker.name: (worker.serves("gpu"), worker.serves("cpu")) for worker in presence.workers()}
        assert served == {"host:1": (False, True), "host:2": (True, False)}
        found = {worker.name: (worker.busy, worker.consuming) for worker in presence.workers()}
        assert found == {"host:1": (True, True), "host:2": (False, False)}
        assert lifecycle.requeue(store, "a", lease, count_attempt=False) is not None
        assert not presence.is_busy("host:1")
        presence.redis.close()
        store.close()
