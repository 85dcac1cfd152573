"""The stages and the progress of an attempt."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import model.segmentation
from worker import lifecycle
from worker.attempt import STAGES, Attempt, StopWorkError
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore
from worker.jobs import JobRecord


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with EmbeddedRedis(tmp_path) as redis:
        store = JobStore(redis.url, 1.0)
        now = store.now()
        record = JobRecord(
            id="a", created_at=now, updated_at=now, bundle="b", side="left", formats=("vtk",), input_name="i"
        )
        store.create(record)
        lifecycle.claim(store, "a", "lease", 2)
        yield store
        store.close()


def test_the_stages_fill_the_whole_and_cover_those_of_the_model() -> None:
    kinds = (model.segmentation.STAGES, model.segmentation.SEGMENTATION_STAGES)
    of_models = {stage for stages in kinds for stage in stages}
    for stages in kinds:
        bounds = [share for stage, share in STAGES.items() if stage in stages or stage not in of_models]
        assert (bounds[0][0], bounds[-1][1]) == (0.0, 1.0)
        assert all(first[1] == second[0] for first, second in itertools.pairwise(bounds))
    assert {*of_models, "mask", "write"} <= set(STAGES)


def test_progress_never_goes_back(store: JobStore) -> None:
    seen = []
    attempt = Attempt(store, "a", "lease")
    for stage, fraction in (("load", 0.0), ("mesh", 1.0), ("check", 0.5), ("write", 7.0), ("publish", -1.0)):
        attempt.report(stage, fraction)
        record = store.get("a")
        assert record is not None
        assert record.stage == stage
        seen.append(record.progress)
    assert seen == sorted(seen)
    assert seen[-1] <= 1.0


def test_an_attempt_that_was_canceled_or_lost_its_job_stops(store: JobStore) -> None:
    attempt = Attempt(store, "a", "lease")
    lifecycle.request_cancel(store, "a")
    with pytest.raises(StopWorkError, match="canceled"):
        attempt.report("load", 0.0)
    lifecycle.confirm_cancel(store, "a", "lease")
    with pytest.raises(StopWorkError, match="no longer"):
        attempt.report("check", 0.0)
