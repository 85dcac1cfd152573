"""The metrics say exactly what happened to the jobs."""

from __future__ import annotations

import os
import re
import signal
from datetime import timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from service_fixtures import Ear, Service

from worker import lifecycle
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore
from worker.jobs import JobFailure, JobRecord, JobState
from worker.metrics import ATTEMPTS, WAIT
from worker.redis_connection import key

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(service: Service) -> Samples:
    """Give the value of each sample by name and label values, the labels in the order of their names."""
    response = service.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_a_job_that_is_tried_twice_is_counted_once(service: Service, ear: Ear) -> None:
    before = scrape(service)
    job = service.submit(ear)
    service.wait_for(job["id"], lambda record: record.state is JobState.RUNNING)
    os.kill(service.worker_ids()[1], signal.SIGKILL)
    record = service.wait_until_finished(job["id"])
    assert record.state is JobState.SUCCEEDED, record.failure
    after = scrape(service)

    def grew(name: str, *labels: str) -> float:
        return after[name, labels] - before.get((name, labels), 0.0)

    assert grew("cochlear_jobs_accepted_total") == 1
    assert grew("cochlear_uploaded_bytes_total") == ear.image.stat().st_size
    assert grew("cochlear_job_attempts_total") == 2
    assert grew("cochlear_jobs_requeued_total", "worker-lost") == 1
    assert grew("cochlear_jobs_ended_total", "succeeded") == 1
    assert grew("cochlear_queue_wait_seconds_count") == 2
    assert grew("cochlear_run_seconds_count", "succeeded") == 1
    for stage in ("load", "check", "register", "mesh", "mask", "write", "publish"):
        assert grew("cochlear_stage_seconds_count", stage) == 1
        assert record.stage_s[stage] >= 0
    assert record.started_at is not None
    assert record.finished_at is not None
    took = (record.finished_at - record.started_at).total_seconds()
    assert abs(grew("cochlear_run_seconds_sum", "succeeded") - took) < 1e-3
    assert 0.5 * took < sum(record.stage_s.values()) <= took + 0.05
    assert grew("cochlear_quality_verdicts_total", "overall", record.verdicts["overall"]) == 1
    assert {name for name in record.verdicts if name.startswith("volume_")}, "each structure has its verdict"
    assert grew("cochlear_http_requests_total", "POST", "/v1/jobs", "202") == 1
    assert after["cochlear_jobs_running", ()] == 0
    assert after["cochlear_queue_depth", ()] == 0
    assert after["cochlear_workers_live", ()] == after["cochlear_workers_consuming", ()] == 1


def test_memory_disk_and_bundles_are_measured(service: Service) -> None:
    samples = scrape(service)
    by_name = {name: value for (name, _), value in samples.items()}
    device = next(labels for name, labels in samples if name == "cochlear_device_memory_used_bytes")
    assert device[0] == "cpu"
    assert re.fullmatch(r".+:\d+", device[1])
    total = by_name["cochlear_device_memory_total_bytes"]
    assert 50e6 < by_name["cochlear_device_memory_used_bytes"] < total, "torch is loaded"
    assert 50e6 < by_name["cochlear_pool_child_resident_bytes"] < total
    assert by_name["cochlear_data_free_bytes"] > 0
    assert by_name["cochlear_bundles"] == 1


def test_failures_waits_and_withdrawals_are_exact(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis:
        store = JobStore(redis.url)
        now = store.now()
        job = JobRecord(
            id="a",
            created_at=now - timedelta(seconds=7),
            updated_at=now,
            bundle="b",
            side="left",
            formats=(),
            input_name="i",
        )
        store.create(job)
        assert lifecycle.claim(store, "a", "w:1", 2) is not None
        assert lifecycle.claim(store, "a", "w:2", 2) is None, "a second delivery counts nothing"
        assert lifecycle.requeue(store, "a", "w:1", count_attempt=False) is not None
        assert lifecycle.claim(store, "a", "w:3", 2) is not None
        failure = JobFailure(code="out-of-memory", title="t", detail="d")
        assert lifecycle.fail(store, "a", "w:3", failure) is not None
        assert lifecycle.fail(store, "a", "w:3", failure) is None
        assert lifecycle.expire(store, "a") is not None

        def kept(name: str) -> dict[str, str]:
            return dict(store._redis.hgetall(key("metric", name)))

        assert kept("cochlear_jobs_accepted") == {"[]": "1"}
        assert kept(ATTEMPTS.name) == {"[]": "2"}
        assert kept("cochlear_jobs_requeued") == {'["worker-stopped"]': "1"}
        assert kept("cochlear_job_failures") == {'["out-of-memory"]': "1"}
        assert kept("cochlear_jobs_ended") == {'["failed"]': "1", '["expired"]': "1"}
        waits = kept(WAIT.name)
        assert waits.pop("[]|0") == "1", "after it was given back it waited for a moment"
        total = float(waits.pop("[]|sum"))
        assert 7.0 <= total < 8.0
        assert waits == {f"[]|{WAIT.buckets.index(10.0)}": "1"}, "7 s are over 5 s and not over 10 s"
        store.close()
