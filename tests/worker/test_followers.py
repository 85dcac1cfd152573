"""Claims, estimates and events of records, on a real Redis server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from redis import Redis

from worker import idempotency, lifecycle
from worker.embedded_redis import EmbeddedRedis
from worker.estimates import Estimate, Estimator
from worker.events import events_of
from worker.idempotency import Claim, ClaimLostError, Claims, Taken
from worker.job_store import JobStore
from worker.jobs import JobRecord, JobState
from worker.redis_connection import connect

STALE_S = 5.0


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    redis = connect(redis_url)
    redis.flushdb()
    yield redis
    redis.close()


@pytest.fixture
def store(redis: object, redis_url: str) -> Iterator[JobStore]:
    store = JobStore(redis_url, STALE_S)
    yield store
    store.close()


@pytest.fixture
def claims(redis: object, redis_url: str) -> Iterator[Claims]:
    claims = Claims(redis_url)
    yield claims
    claims.close()


@pytest.fixture
def estimator(redis: object, redis_url: str) -> Iterator[Estimator]:
    estimator = Estimator(redis_url, STALE_S)
    yield estimator
    estimator.close()


def draft(store: JobStore, job_id: str, bundle: str = "b", claim: Claim | None = None) -> JobRecord:
    now = store.now()
    return JobRecord(
        id=job_id,
        created_at=now,
        updated_at=now,
        bundle=bundle,
        side="left",
        formats=("vtk",),
        input_name="input.nii",
        idempotency=None if claim is None else claim.name,
    )


def test_of_many_claims_at_once_one_is_held(claims: Claims) -> None:
    barrier = threading.Barrier(8)

    def claim(number: int) -> Claim | Taken:
        barrier.wait()
        return claims.claim("caller", "jobs", "k", f"print-{number % 2}")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(claim, range(8)))
    held = [one for one in found if isinstance(one, Claim)]
    assert len(held) == 1
    assert {one for one in found if isinstance(one, Taken)} == {Taken(held[0].fingerprint, None)}
    assert isinstance(claims.claim("other", "jobs", "k", "print"), Claim), "keys belong to their callers"
    assert isinstance(claims.claim("caller", "batches", "k", "print"), Claim), "and to what is made"


def test_a_settled_key_tells_what_was_made_until_that_is_erased(claims: Claims, store: JobStore, redis: Redis) -> None:
    claim = claims.claim(None, "jobs", "k", "print")
    assert isinstance(claim, Claim)
    store.create(draft(store, "made", claim=claim), claim=claim)
    claims.release(claim)
    assert claims.claim(None, "jobs", "k", "print") == Taken("print", "made")
    assert 23 * 3600 < redis.ttl(claim.name) <= 24 * 3600
    lifecycle.request_cancel(store, "made")
    assert store.remove("made")
    assert isinstance(claims.claim(None, "jobs", "k", "print"), Claim)


def test_a_lost_claim_makes_nothing_and_hurts_no_other(claims: Claims, store: JobStore, redis: Redis) -> None:
    lost = claims.claim(None, "jobs", "k", "print")
    assert isinstance(lost, Claim)
    assert claims.renew(lost)
    assert 0 < redis.ttl(lost.name) <= idempotency.LEASE_S, "a process that died blocks the key no longer"
    redis.delete(lost.name)
    second = claims.claim(None, "jobs", "k", "print")
    assert isinstance(second, Claim)
    store.create(draft(store, "second", claim=second), claim=second)
    first = draft(store, "first", claim=lost)
    with pytest.raises(ClaimLostError):
        store.create(first, claim=lost)
    claims.release(lost)
    assert not claims.renew(lost)
    assert [record.id for record in store.page(10)] == ["second"]
    assert claims.claim(None, "jobs", "k", "print") == Taken("print", "second")


def finish(store: JobStore, job_id: str, bundle: str, seconds: float) -> None:
    """Make a job that took so long and succeeded."""
    store.create(draft(store, job_id, bundle))
    lifecycle.claim(store, job_id, "w:1", 2)
    began = store.now() - timedelta(seconds=seconds)
    store.change(job_id, lambda old: old.changed(started_at=began))
    assert lifecycle.succeed(store, job_id, "w:1", {}, []) is not None


def seconds_until(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - datetime.now(UTC)).total_seconds()


def test_estimates_fall_as_the_queue_moves(store: JobStore, estimator: Estimator) -> None:
    for number, seconds in enumerate((90, 100, 500)):
        finish(store, f"done-{number}", "b", seconds)
    finish(store, "quick", "other", 100)
    store.beat_worker("w")
    waiting = [store.create(draft(store, name)) for name in ("one", "two", "three")]

    def waits() -> list[float]:
        found = []
        for record in waiting:
            position = store.queue_position(record.id)
            if position is not None:
                estimate = estimator.of(record, position)
                assert seconds_until(estimate.end_at) - seconds_until(estimate.start_at) == pytest.approx(100, abs=5.1)
                found.append(seconds_until(estimate.start_at))
        return found

    assert waits() == pytest.approx([0, 100, 200], abs=6)
    running = lifecycle.claim(store, "one", "w:2", 2)
    assert running is not None
    assert waits() == pytest.approx([100, 200], abs=6)
    assert seconds_until(estimator.of(running, None).end_at) == pytest.approx(100, abs=6)
    store.beat_worker("w2")
    assert waits() == pytest.approx([0, 100], abs=6), "a second worker takes the next one at once"
    overdue = store.change("one", lambda old: old.changed(started_at=store.now() - timedelta(seconds=300)))
    assert overdue is not None
    assert estimator.of(overdue, None) == Estimate()


def test_without_a_basis_there_is_no_estimate(store: JobStore, estimator: Estimator) -> None:
    record = store.create(draft(store, "one"))
    store.beat_worker("w")
    assert estimator.of(record, 1) == Estimate(), "no job has succeeded yet"
    finish(store, "done", "other", 60)
    estimate = estimator.of(record, 2)
    assert seconds_until(estimate.start_at) == pytest.approx(60, abs=6)
    assert estimate.end_at is None, "none of its own bundle"
    store.forget_worker("w")
    assert estimator.of(record, 2) == Estimate(), "no worker lives"


def entries(redis: Redis) -> list[tuple[str, dict[str, str]]]:
    return cast("list[tuple[str, dict[str, str]]]", redis.xrange(events_of("one")))


def test_every_change_is_one_event_and_erasing_leaves_none(store: JobStore, redis: Redis) -> None:
    store.create(draft(store, "one"))
    lifecycle.claim(store, "one", "w:1", 2)
    lifecycle.report_progress(store, "one", "w:1", "mesh", 0.5)
    lifecycle.report_progress(store, "one", "w:1", "mesh", 0.5)
    lifecycle.requeue(store, "one", "w:1", count_attempt=True)
    lifecycle.claim(store, "one", "w:1", 2)
    lifecycle.succeed(store, "one", "w:1", {}, [])
    events = [fields for _, fields in entries(redis)]
    states = ["queued", "running", "running", "queued", "running", "succeeded"]
    assert [(event["state"], event["attempt"]) for event in events] == list(zip(states, "011122", strict=True))
    assert lifecycle.expire(store, "one") is not None
    assert [fields["state"] for _, fields in entries(redis)] == ["expired"]
    assert store.remove("one")
    assert redis.exists(events_of("one")) == 0
    assert store.get("one") is None


def test_a_job_is_no_basis_before_it_has_succeeded(store: JobStore, estimator: Estimator) -> None:
    store.beat_worker("w")
    record = store.create(draft(store, "one"))
    lifecycle.claim(store, "one", "w:1", 2)
    lifecycle.request_cancel(store, "one")
    time.sleep(0.01)
    canceled = lifecycle.confirm_cancel(store, "one", "w:1")
    assert canceled is not None
    assert canceled.state is JobState.CANCELED
    assert estimator.of(record, 1) == Estimate()
