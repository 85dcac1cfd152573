"""Runs that are inside a long computation are stopped, and the next job gets the processor; on the real stack."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest
from service_fixtures import BUNDLE, Ear, Service, as_json, is_alive, write_small_bundle

from worker.jobs import JobRecord, JobState

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tests look into /proc")

HEAVY = "heavy"
TIME_LIMIT_S = 9.0


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that also has a model whose single convolutions take seconds, and little patience."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_small_bundle(folder)
    write_small_bundle(folder, HEAVY, width=32, fineness=3)
    data = tmp_path_factory.mktemp("data")
    limits = {"COCHLEAR_STOP_GRACE_S": "0.5", "COCHLEAR_TIME_LIMIT_S": str(TIME_LIMIT_S)}
    with Service(data, folder, **limits) as service:
        yield service


def registers(record: JobRecord) -> bool:
    return record.state is JobState.RUNNING and record.stage == "register"


def test_canceling_inside_a_long_step_frees_the_processor(stopping: Service, ear: Ear) -> None:
    job = stopping.submit(ear, bundle=HEAVY)
    stopping.wait_for(job["id"], registers)
    child, begun = stopping.worker_ids()[1], time.monotonic()
    answer = stopping.http.post(job["links"]["cancel"])
    assert (answer.status_code, as_json(answer)["state"]) == (202, "running"), "not before it has stopped"
    after = stopping.submit(ear, bundle=BUNDLE)
    record = stopping.wait_until_finished(job["id"])
    assert time.monotonic() - begun < 6
    assert (record.state, record.attempt, record.failure) == (JobState.CANCELED, 1, None)
    assert stopping.wait_until_finished(after["id"]).state is JobState.SUCCEEDED
    stopping.wait_for(job["id"], lambda record: not (stopping.data_dir / "jobs" / record.id).exists())
    again = stopping.store.get(job["id"])
    assert again == record, "it was not tried again"
    # Either the step ended within the grace and heeded the interruption, or its process was killed.
    interrupted = any("it is interrupted" in line for line in stopping.log)
    assert interrupted or not is_alive(child)


def test_a_run_that_does_not_react_is_killed_at_its_time_limit(stopping: Service, ear: Ear) -> None:
    job = stopping.submit(ear, bundle=HEAVY)
    started = stopping.wait_for(job["id"], registers).started_at
    assert started is not None
    child = stopping.worker_ids()[1]
    left = TIME_LIMIT_S - 1.5 - (stopping.store.now() - started).total_seconds()
    time.sleep(max(0.0, left))
    # From here on the process heeds nothing, like one that is stuck in the driver of its device.
    os.kill(child, signal.SIGSTOP)
    record = stopping.wait_until_finished(job["id"])
    assert not is_alive(child)
    assert record.failure is not None
    assert (record.state, record.failure.code, record.attempt) == (JobState.FAILED, "time-limit", 1)
    after = stopping.submit(ear, bundle=BUNDLE)
    stopping.wait_for(after["id"], lambda record: record.stage in ("mesh", "mask", "write") or record.state.finished)
    assert stopping.worker_ids()[1] != child
