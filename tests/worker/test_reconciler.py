"""Every job ends: what happens to jobs whose worker or whose message is gone, on a real Redis server."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from worker import lifecycle
from worker.artifacts import ArtifactStore
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore
from worker.jobs import JobRecord, JobState
from worker.queue import JobQueue
from worker.reconciler import Reconciler
from worker.routes import message_queue
from worker.settings import Settings

STALE_S = 0.6
REPORT = {"warnings": ["a remark"], "timings_s": {"mesh": 0.5}, "quality": {"verdict": "pass", "checks": []}}
"""What the reconciler reads of a report."""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


class Scene:
    """A store with one job, and the reconciler that looks at it."""

    def __init__(self, redis_url: str, data_dir: Path, **changes: float) -> None:
        """Make the job."""
        Redis.from_url(redis_url).flushdb()
        self.settings = Settings(redis_url=redis_url, data_dir=data_dir, stale_after_s=STALE_S, **changes)  # type: ignore[arg-type]
        self.store = JobStore(redis_url, STALE_S)
        self.artifacts = ArtifactStore(self.settings.artifacts_url)
        self.queue = JobQueue(self.settings)
        self.reconciler = Reconciler(self.store, self.artifacts, self.queue, self.settings)
        image = data_dir / "image"
        image.write_bytes(b"image")
        self.artifacts.put_input("job", "input.nii.gz", image)
        now = self.store.now()
        self.store.create(
            JobRecord(
                id="job",
                created_at=now,
                updated_at=now,
                bundle="b",
                side="left",
                formats=("vtk",),
                input_name="input.nii.gz",
            )
        )

    @property
    def job(self) -> JobRecord:
        record = self.store.get("job")
        assert record is not None
        return record

    def messages(self) -> int:
        return int(Redis.from_url(self.settings.required_redis_url()).llen("cochlear:broker:" + message_queue("cpu")))

    def look(self) -> None:
        """Look twice, as far apart as it takes to be sure."""
        self.reconciler.run_once()
        time.sleep(self.settings.beat_every_s * 1.1)
        self.reconciler.run_once()

    def abandon(self) -> None:
        """Begin an attempt whose worker dies at once."""
        assert lifecycle.claim(self.store, "job", f"dead{time.monotonic()}", 9) is not None
        time.sleep(STALE_S * 1.2)


@pytest.fixture
def scene(redis_url: str, tmp_path: Path) -> Scene:
    return Scene(redis_url, tmp_path)


def test_a_job_whose_worker_beats_is_left_alone(scene: Scene) -> None:
    lifecycle.claim(scene.store, "job", "alive", 2)
    time.sleep(STALE_S * 1.2)
    scene.store.beat("job", "alive")
    scene.reconciler.run_once()
    assert (scene.job.state, scene.messages()) == (JobState.RUNNING, 0)


def test_an_abandoned_job_is_queued_again_twice_then_fails(scene: Scene) -> None:
    scene.abandon()
    scene.reconciler.run_once()
    assert scene.job.state.name == "RUNNING", "one look is not enough"
    scene.look()
    assert (scene.job.state, scene.job.attempt, scene.messages()) == (JobState.QUEUED, 1, 1)
    scene.abandon()
    scene.look()
    assert (scene.job.state, scene.job.attempt, scene.messages()) == (JobState.QUEUED, 2, 2)
    scene.abandon()
    scene.look()
    failure = scene.job.failure
    assert scene.job.state is JobState.FAILED
    assert failure is not None
    assert (failure.code, failure.found) == ("worker-lost", "3 attempts")


def test_a_worker_that_died_after_publishing_has_done_its_job(scene: Scene) -> None:
    scene.abandon()
    with scene.artifacts.staging("job") as folder:
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(REPORT))
        scene.artifacts.publish("job", folder)
    stored = Path(scene.settings.artifacts_url) / "job"
    left = stored / ".attempt-killed"
    left.mkdir()
    scene.look()
    assert (scene.job.state, scene.job.warnings) == (JobState.SUCCEEDED, ("a remark",))
    assert sorted(path.name for path in stored.iterdir()) == ["input.nii.gz", "results"]
    left.mkdir()
    scene.reconciler.sweep()
    assert left.exists(), "it may belong to an attempt that goes on"
    os.utime(left, (0, 0))
    scene.reconciler.sweep()
    assert not left.exists()
    assert list(scene.job.files) == ["report.json"]


def test_a_canceled_job_whose_worker_died_is_canceled_and_its_files_erased(scene: Scene) -> None:
    scene.abandon()
    lifecycle.request_cancel(scene.store, "job")
    time.sleep(STALE_S * 1.2)
    scene.look()
    assert scene.job.state is JobState.CANCELED
    assert not Path(scene.settings.artifacts_url, "job").exists()


def test_a_job_that_had_all_its_time_is_not_tried_again(redis_url: str, tmp_path: Path) -> None:
    scene = Scene(redis_url, tmp_path, time_limit_s=1.1)
    scene.abandon()
    time.sleep(0.5)
    scene.look()
    failure = scene.job.failure
    assert failure is not None
    assert failure.code == "time-limit"


def test_a_job_whose_message_was_lost_is_announced_again_but_not_over_and_over(scene: Scene) -> None:
    scene.reconciler.run_once()
    assert scene.messages() == 0, "it has not waited yet"
    time.sleep(STALE_S * 1.2)
    scene.reconciler.run_once()
    scene.reconciler.run_once()
    assert (scene.job.state, scene.messages()) == (JobState.QUEUED, 1)


def test_files_expire_and_the_record_says_so(redis_url: str, tmp_path: Path) -> None:
    scene = Scene(redis_url, tmp_path, retention_s=0.5)
    lifecycle.claim(scene.store, "job", "lease", 2)
    lifecycle.succeed(scene.store, "job", "lease", {}, ())
    scene.reconciler.run_once()
    assert scene.job.state == "succeeded"
    time.sleep(0.6)
    scene.reconciler.run_once()
    assert scene.job.state == "expired"
    assert not Path(scene.settings.artifacts_url, "job").exists()


def test_leftovers_of_broken_submissions_are_swept_and_nothing_else(scene: Scene) -> None:
    jobs = Path(scene.settings.artifacts_url)
    (jobs / "orphan").mkdir()
    scene.settings.uploads_dir.mkdir()
    for name in ("old.part", "new.part"):
        (scene.settings.uploads_dir / name).write_bytes(b"")
    for path in (jobs / "orphan", jobs / "job", scene.settings.uploads_dir / "old.part"):
        os.utime(path, (0, 0))
    scene.reconciler.sweep()
    assert [path.name for path in jobs.iterdir()] == ["job"]
    assert [path.name for path in scene.settings.uploads_dir.iterdir()] == ["new.part"]


def test_a_worker_that_is_heard_again_in_time_keeps_its_job(scene: Scene) -> None:
    lifecycle.claim(scene.store, "job", "slow", 2)
    time.sleep(STALE_S * 1.2)
    scene.reconciler.run_once()
    scene.store.beat("job", "slow")
    time.sleep(scene.settings.beat_every_s * 1.1)
    scene.reconciler.run_once()
    assert (scene.job.state, scene.job.lease, scene.messages()) == (JobState.RUNNING, "slow", 0)


def test_two_reconcilers_do_not_settle_a_job_twice(scene: Scene) -> None:
    other = Reconciler(
        JobStore(scene.settings.required_redis_url(), STALE_S), scene.artifacts, scene.queue, scene.settings
    )
    scene.abandon()
    scene.reconciler.run_once()
    other.run_once()
    time.sleep(scene.settings.beat_every_s * 1.1)
    threads = [threading.Thread(target=reconciler.run_once) for reconciler in (scene.reconciler, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (scene.job.state, scene.job.attempt, scene.messages()) == (JobState.QUEUED, 1, 1)


def test_a_lost_message_is_sent_again_although_another_job_runs(scene: Scene) -> None:
    """Of two workers, the one that is free must not wait for the end of what the other does."""
    scene.store.create(scene.job.model_copy(update={"id": "other"}))
    lifecycle.claim(scene.store, "job", "busy", 2)
    time.sleep(STALE_S * 1.2)
    scene.store.beat("job", "busy")
    scene.reconciler.run_once()
    assert scene.messages() == 1
