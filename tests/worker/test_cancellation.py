"""A canceled run that is stuck in native code is killed, and only then called canceled; on a real Redis and process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_fixtures import is_alive

from worker import lifecycle
from worker.artifacts import ArtifactStore
from worker.cancellation import Stopper
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore
from worker.jobs import JobRecord, JobState

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tests look into /proc")

STUCK = """
import signal
def heed(number, frame):
    raise SystemExit(7)
signal.signal(signal.SIGUSR1, heed)
print("ready", flush=True)
{}
"""
GRACE_S = 0.4


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with EmbeddedRedis(tmp_path) as redis:
        store = JobStore(redis.url, 30.0)
        yield store
        store.close()


def child_that_runs(code: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", STUCK.format(code)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def running_job(store: JobStore, lease: str) -> JobRecord:
    now = store.now()
    record = JobRecord(
        id="job", created_at=now, updated_at=now, bundle="b", side="left", formats=("vtk",), input_name="input.nii"
    )
    store.create(record)
    claimed = lifecycle.claim(store, "job", lease, 2)
    assert claimed is not None
    return claimed


def press(stopper: Stopper, child: subprocess.Popen[str], seconds: float) -> None:
    """Look as the worker does, for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and is_alive(child.pid):
        stopper.look([child.pid])
        time.sleep(0.05)


def test_native_code_is_killed_and_the_state_waits_for_it(store: JobStore, tmp_path: Path) -> None:
    artifacts = ArtifactStore(str(tmp_path / "jobs"))
    (tmp_path / "jobs" / "job").mkdir(parents=True)
    child = child_that_runs("import hashlib; hashlib.pbkdf2_hmac('sha256', b'p', b's', 10**9)  # one long native step")
    running_job(store, "w:1")
    stopper = Stopper(store, artifacts, "w", GRACE_S)
    seen: list[tuple[JobState, bool]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            record = store.get("job")
            assert record is not None
            # The process is looked at after the record: canceled, then alive, would be wrong.
            seen.append((record.state, is_alive(child.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        press(stopper, child, 3 * GRACE_S)
        assert child.poll() is None, "nobody has canceled it"
        lifecycle.request_cancel(store, "job")
        begun = time.monotonic()
        press(stopper, child, 20)
        assert 2 * GRACE_S <= time.monotonic() - begun < 10
    finally:
        ended.set()
        watcher.join()
        child.kill()
    assert child.wait() == -9, "it heeded no interruption"
    record = store.get("job")
    assert record is not None
    assert (record.state, record.attempt, record.failure) == (JobState.CANCELED, 1, None)
    assert (JobState.CANCELED, True) not in seen
    assert (JobState.RUNNING, True) in seen
    assert not (tmp_path / "jobs" / "job").exists()


def test_python_code_is_only_interrupted(store: JobStore, tmp_path: Path) -> None:
    child = child_that_runs("import time; time.sleep(60)")
    running_job(store, "w:1")
    lifecycle.request_cancel(store, "job")
    press(Stopper(store, ArtifactStore(str(tmp_path)), "w", GRACE_S), child, 10)
    assert child.wait() == 7


@pytest.mark.parametrize("state", ["of another worker", "gone on"])
def test_nobody_else_is_touched(store: JobStore, tmp_path: Path, state: str) -> None:
    child = child_that_runs("import time; time.sleep(60)")
    record = running_job(store, "other:1" if state == "of another worker" else "w:1")
    lifecycle.request_cancel(store, "job")
    stopper = Stopper(store, ArtifactStore(str(tmp_path)), "w", GRACE_S)
    stopper.look([child.pid])
    if state == "gone on":
        assert lifecycle.confirm_cancel(store, "job", record.lease) is not None
    press(stopper, child, 4 * GRACE_S)
    assert is_alive(child.pid)
    child.kill()
    child.wait()
