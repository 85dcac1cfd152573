"""What survives what: restarts, killed processes, doubled deliveries, on the real stack."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from service_fixtures import BUNDLE, COMMAND, Ear, Service, as_json, children_of, is_alive

from worker.jobs import JobRecord, JobState
from worker.queue import JobQueue
from worker.settings import Settings

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tests look into /proc")


def running(record: JobRecord) -> bool:
    return record.state is JobState.RUNNING


def everything_of(service: Service) -> list[int]:
    """Give the ids of all processes of a service."""
    found, todo = [], [service.process.pid]
    while todo:
        found.append(todo.pop())
        todo += children_of(found[-1])
    return found


def submit_and_see_run(service: Service, ear: Ear) -> str:
    """Give the id of a job that has just begun to run."""
    job_id = str(service.submit(ear)["id"])
    service.wait_for(job_id, running)
    return job_id


def readiness(service: Service, status: int, within_s: float = 15.0) -> dict[str, Any]:
    """Wait for an answer of /readyz with this status; what it found is kept for a second."""
    deadline = time.monotonic() + within_s
    while (response := service.http.get("/readyz")).status_code != status and time.monotonic() < deadline:
        time.sleep(0.1)
    assert response.status_code == status, response.text
    return as_json(response)


def assert_all_end(process_ids: list[int], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while any(map(is_alive, process_ids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [process_id for process_id in process_ids if is_alive(process_id)]
    for process_id in left:
        os.kill(process_id, signal.SIGKILL)
    assert left == []


def test_jobs_outlive_their_service_however_it_ends(tmp_path: Path, checkpoints: Path, ear: Ear) -> None:
    with Service(tmp_path, checkpoints) as first:
        jobs = [submit_and_see_run(first, ear), str(first.submit(ear)["id"])]
        processes = everything_of(first)
        assert len(processes) >= 4, "it, Redis, a worker and its pool child"
        assert first.stop(signal.SIGINT) == 0
        assert_all_end(processes, 10)
    with Service(tmp_path, checkpoints) as second:
        for job_id in jobs:
            record = second.wait_until_finished(job_id)
            assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1), "stopping on purpose costs no attempt"
        jobs.append(submit_and_see_run(second, ear))
        processes = everything_of(second)
        second.kill()
        assert_all_end(processes, 10)
    with Service(tmp_path, checkpoints) as third:
        record = third.wait_until_finished(jobs[2])
        assert (record.state, record.attempt) == (JobState.SUCCEEDED, 2)
        for job_id in jobs:
            links = as_json(third.http.get(f"/v1/jobs/{job_id}"))["links"]["results"]
            assert third.http.get(links["report.json"]).status_code == 200
        assert third.stop(signal.SIGTERM) == 0


def test_a_killed_pool_child_costs_an_attempt_and_three_fail_the_job(service: Service, ear: Ear) -> None:
    job = service.submit(ear)
    for attempt in (1, 2, 3):
        service.wait_for(job["id"], lambda record, n=attempt: running(record) and record.attempt == n)  # type: ignore[misc]
        os.kill(service.worker_ids()[1], signal.SIGKILL)
    service.wait_until_finished(job["id"])
    answer = as_json(service.http.get(job["links"]["self"]))
    assert (answer["state"], answer["problem"]["type"]) == ("failed", "/problems/worker-lost")
    assert answer["problem"]["errors"][0]["found"] == "3 attempts"
    assert service.http.get(job["links"]["self"] + "/report.json").status_code == 409


def test_a_killed_worker_is_started_again_and_its_job_tried_again(service: Service, ear: Ear) -> None:
    job_id = submit_and_see_run(service, ear)
    worker, child = service.worker_ids()
    os.kill(worker, signal.SIGKILL)
    assert_all_end([worker, child], 5)
    record = service.wait_until_finished(job_id)
    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 2)
    folder = service.data_dir / "jobs" / job_id
    # The record says so first, then what the killed attempt left is tidied.
    service.wait_for(job_id, lambda _: sorted(path.name for path in folder.iterdir()) == ["input.nii.gz", "results"])


def test_delivering_a_job_again_changes_nothing(service: Service, ear: Ear) -> None:
    queue = JobQueue(Settings(redis_url=f"unix://{service.data_dir / 'redis' / 'redis.sock'}"))
    job = service.submit(ear)
    queue.send(job["id"], "cpu")
    service.wait_for(job["id"], running)
    queue.send(job["id"], "cpu")
    done = service.wait_until_finished(job["id"])
    results = service.data_dir / "jobs" / job["id"] / "results"
    written = results.stat().st_mtime_ns
    queue.send(job["id"], "cpu")
    other = service.submit(ear)
    service.wait_until_finished(other["id"])
    queue.close()
    assert service.store.get(job["id"]) == done
    assert done.attempt == 1
    assert results.stat().st_mtime_ns == written
    assert sum(f"{job['id']}: nothing to do" in line for line in service.log) == 3


def test_the_data_folder_is_private_and_taken_once(service: Service) -> None:
    assert stat.S_IMODE((service.data_dir / "redis").stat().st_mode) == 0o700
    second = subprocess.run(
        [*COMMAND, "serve", "--port", "0", "--data-dir", str(service.data_dir)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 2
    assert "another service runs on this data folder" in second.stderr
    readiness(service, 200)


def test_without_a_worker_the_service_is_not_ready(service: Service, ear: Ear) -> None:
    worker, child = service.worker_ids()
    os.kill(worker, signal.SIGSTOP)
    try:
        checks = readiness(service, 503)["checks"]
        assert (checks["redis"]["ok"], checks["worker"]["ok"], checks["bundle"]["ok"]) == (True, False, False)
        assert service.http.get("/livez").status_code == 200
    finally:
        os.kill(worker, signal.SIGCONT)
    assert is_alive(child)


def test_a_bundle_that_goes_missing_is_told(service: Service, checkpoints: Path, ear: Ear) -> None:
    moved = checkpoints.with_name("moved-bundle")
    (checkpoints / BUNDLE).rename(moved)
    try:
        ready = readiness(service, 503)
        assert ready["checks"]["bundle"]["ok"] is False
        response = service.http.post("/v1/jobs", **ear.form())
        assert (response.status_code, as_json(response)["type"]) == (422, "/problems/unknown-bundle")
    finally:
        moved.rename(checkpoints / BUNDLE)
    readiness(service, 200)
