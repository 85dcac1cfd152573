"""Redis dies at every stage of a job and comes back; a disk runs full and gets space again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from service_fixtures import Ear, Service, as_json, children_of

from worker.jobs import JobState

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tests look into /proc")

STAGES = ("queued", "load", "refine", "write", "publish")


def redis_of(service: Service) -> int | None:
    """Give the process id of the embedded server, or None while there is none."""
    for child in children_of(service.process.pid):
        if "redis" in Path(f"/proc/{child}/cmdline").read_text():
            return child
    return None


def kill_redis(service: Service) -> None:
    process_id = redis_of(service)
    assert process_id is not None
    os.kill(process_id, signal.SIGKILL)


def wait_until_ready(service: Service) -> None:
    deadline = time.monotonic() + 60
    while service.http.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_redis_killed_at_any_stage_costs_no_attempt_and_no_job(service: Service, ear: Ear) -> None:
    for stage in STAGES:
        first = str(service.submit(ear)["id"])
        jobs = [first, str(service.submit(ear)["id"])] if stage == "queued" else [first]
        if stage != "queued":
            service.wait_for(first, lambda record, s=stage: record.stage == s or record.state.finished)  # type: ignore[misc]
        kill_redis(service)
        answer = service.http.get(f"/v1/jobs/{first}")
        if answer.status_code != 200:
            assert (answer.status_code, as_json(answer)["type"]) == (503, "/problems/queue-unavailable")
            assert answer.headers["Retry-After"]
        wait_until_ready(service)
        for job_id in jobs:
            record = service.wait_until_finished(job_id)
            assert (stage, record.state, record.attempt) == (stage, JobState.SUCCEEDED, 1), record


def test_an_acknowledgement_that_fails_does_not_leave_the_worker_deaf(service: Service, ear: Ear) -> None:
    first = str(service.submit(ear)["id"])
    service.wait_for(first, lambda record: record.stage == "publish" or record.state.finished)
    # The supervisor stands still, so that Redis is away when the worker acknowledges the message.
    service.process.send_signal(signal.SIGSTOP)
    try:
        service.wait_until_finished(first)
        kill_redis(service)
        time.sleep(1.0)
    finally:
        service.process.send_signal(signal.SIGCONT)
    wait_until_ready(service)
    record = service.wait_until_finished(str(service.submit(ear)["id"]))
    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of a size in memory, or skip the test when this user may not."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def filled(disk: Path, leaving: int) -> Iterator[None]:
    """Fill a disk but for some bytes."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free - leaving)))
    try:
        yield
    finally:
        ballast.unlink()


def test_a_full_disk_fails_what_needs_it_and_nothing_else(tmp_path: Path, checkpoints: Path, ear: Ear) -> None:
    with (
        small_disk(tmp_path / "disk", "16m") as disk,
        Service(tmp_path / "data", checkpoints, COCHLEAR_STORE_URL=str(disk / "jobs")) as service,
    ):
        good = service.wait_until_finished(str(service.submit(ear)["id"]))
        assert good.state is JobState.SUCCEEDED
        needed = sum(file.size for file in good.files.values())
        size = ear.image.stat().st_size
        before = sorted(path.name for path in (disk / "jobs").iterdir())
        with filled(disk, size // 2):
            refused = service.http.post("/v1/jobs", **ear.form())
            assert (refused.status_code, as_json(refused)["type"]) == (503, "/problems/storage-full")
            assert "Retry-After" in refused.headers
            assert service.http.get("/livez").status_code == 200
        assert sorted(path.name for path in (disk / "jobs").iterdir()) == before, "nothing partial is left"
        for share in (0.02, 0.5, 0.9):
            with filled(disk, int(size * 1.2 + share * needed)):
                job = service.submit(ear)
                record = service.wait_until_finished(str(job["id"]))
                assert (share, record.state, record.attempt) == (share, JobState.FAILED, 1)
                answer = as_json(service.http.get(job["links"]["self"]))
                assert (answer["problem"]["type"], answer["problem"]["status"]) == ("/problems/storage-full", 503)
                assert [path.name for path in (disk / "jobs" / record.id).iterdir()] == [record.input_name]
            shutil.rmtree(disk / "jobs" / record.id)
        again = service.wait_until_finished(str(service.submit(ear)["id"]))
        assert again.state is JobState.SUCCEEDED


def test_jobs_wait_while_the_disk_of_redis_is_full(tmp_path: Path, checkpoints: Path, ear: Ear) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        store = tmp_path / "store"
        with Service(disk, checkpoints, COCHLEAR_STORE_URL=str(store), TMPDIR=str(tmp_path)) as service:
            job = service.submit(ear)
            service.wait_for(job["id"], lambda record: record.state is JobState.RUNNING)
            with filled(disk, 0):
                deadline = time.monotonic() + 60
                while service.http.get("/readyz").status_code == 200:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                time.sleep(2.0)
                assert service.http.get("/livez").status_code == 200
                assert service.process.poll() is None
            wait_until_ready(service)
            record = service.wait_until_finished(str(job["id"]))
            assert (record.state, record.attempt <= 2) == (JobState.SUCCEEDED, True)
            assert service.wait_until_finished(str(service.submit(ear)["id"])).state is JobState.SUCCEEDED
