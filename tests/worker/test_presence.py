"""Who is busy, on a real Redis server: by the leases and beats that an attempt really leaves."""

from __future__ import annotations

from pathlib import Path

from worker import lifecycle
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore
from worker.jobs import JobRecord
from worker.presence import Presence
from worker.redis_connection import connect


def test_a_worker_that_holds_a_job_that_beats_is_busy_and_not_deaf(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis:
        store, presence = JobStore(redis.url), Presence(connect(redis.url), 30.0, 0.01)
        now = store.now()
        store.create(
            JobRecord(
                id="job", created_at=now, updated_at=now, bundle="b", side="left", formats=(), input_name="input.nii"
            )
        )
        store.beat_worker("host:1")
        presence.note("host:1", {"queues": "gpu"})
        assert lifecycle.claim(store, "job", "host:1:token", 3) is not None
        assert not presence.is_busy("host:1")
        store.beat("job", "host:1:token")
        assert presence.is_busy("host:1")
        (state,) = presence.workers()
        assert state.busy
        assert state.consuming
        assert (state.serves("gpu"), state.serves("cpu")) == (True, False)
