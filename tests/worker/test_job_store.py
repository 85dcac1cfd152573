"""Records and lawful steps, on a real Redis server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from worker import lifecycle
from worker.embedded_redis import EmbeddedRedis
from worker.job_store import JobStore, TooManyActiveError
from worker.jobs import JobFailure, JobRecord, JobState, ResultFile

STALE_S = 0.6
FAILURE = JobFailure(code="internal-error", title="t", detail="d")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


@pytest.fixture
def store(redis_url: str) -> Iterator[JobStore]:
    store = JobStore(redis_url, STALE_S)
    store._redis.flushdb()
    yield store
    store.close()


def draft(store: JobStore, job_id: str, owner: str | None = None) -> JobRecord:
    now = store.now()
    return JobRecord(
        id=job_id,
        created_at=now,
        updated_at=now,
        bundle="b",
        side="left",
        formats=("vtk",),
        input_name="input.nii.gz",
        owner=owner,
    )


def make(store: JobStore, job_id: str) -> JobRecord:
    return store.create(draft(store, job_id))


def test_a_stored_record_comes_back_equal(store: JobStore) -> None:
    record = make(store, "a")
    assert store.get("a") == record
    assert store.get("b") is None


def test_the_queue_keeps_the_order_of_arrival_also_for_a_job_put_back(store: JobStore) -> None:
    for job_id in "abc":
        make(store, job_id)
    assert lifecycle.claim(store, "a", "lease", 2) is not None
    assert [store.queue_position(job_id) for job_id in "abc"] == [None, 1, 2]
    assert lifecycle.requeue(store, "a", "lease", count_attempt=True) is not None
    assert [store.queue_position(job_id) for job_id in "abc"] == [1, 2, 3]
    assert store.running_ids() == []


def test_of_many_claimers_one_gets_the_job(store: JobStore) -> None:
    make(store, "a")
    barrier = threading.Barrier(8)
    won: list[str] = []

    def claim(lease: str) -> None:
        barrier.wait()
        if lifecycle.claim(store, "a", lease, 2) is not None:
            won.append(lease)

    threads = [threading.Thread(target=claim, args=(f"lease{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = store.get("a")
    assert record is not None
    assert (len(won), record.lease, record.attempt) == (1, won[0], 1)


def test_no_change_is_lost_when_many_change_one_record(store: JobStore) -> None:
    make(store, "a")

    def note(number: int) -> None:
        store.change("a", lambda old: old.changed(warnings=(*old.warnings, str(number))))

    threads = [threading.Thread(target=note, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = store.get("a")
    assert record is not None
    assert sorted(record.warnings) == sorted(str(number) for number in range(10))


def test_an_attempt_left_behind_can_do_nothing_to_its_successor(store: JobStore) -> None:
    make(store, "a")
    lifecycle.claim(store, "a", "first", 2)
    store.beat("a", "first")
    time.sleep(STALE_S * 0.7)
    store.beat("a", "first")
    time.sleep(STALE_S * 0.5)
    assert not store.is_abandoned(read(store, "a")), "it beat lately, although the record is old"
    time.sleep(STALE_S * 0.7)
    assert store.is_abandoned(read(store, "a"))
    assert lifecycle.claim(store, "a", "second", 2) is None, "a second message is no proof of a death"
    assert lifecycle.requeue(store, "a", "first", count_attempt=True) is not None
    taken = lifecycle.claim(store, "a", "second", 2)
    assert taken is not None
    assert taken.attempt == 2
    assert lifecycle.claim(store, "a", "second", 2) is not None, "asked again after a lost reply"
    assert read(store, "a").attempt == 2
    time.sleep(STALE_S * 0.7)
    store.beat("a", "second")
    store.beat("a", "first")
    time.sleep(STALE_S * 0.5)
    assert not store.is_abandoned(read(store, "a")), "the beat of the other changes nothing"
    assert lifecycle.report_progress(store, "a", "first", "mesh", 0.5) is None
    assert lifecycle.succeed(store, "a", "first", {}, ()) is None
    assert lifecycle.fail(store, "a", "first", FAILURE) is None


def read(store: JobStore, job_id: str) -> JobRecord:
    record = store.get(job_id)
    assert record is not None
    return record


def test_a_job_is_not_tried_more_often_than_allowed(store: JobStore) -> None:
    make(store, "a")
    for number in range(2):
        assert lifecycle.claim(store, "a", f"lease{number}", 2) is not None
        lifecycle.requeue(store, "a", f"lease{number}", count_attempt=True)
    assert lifecycle.claim(store, "a", "third", 2) is None


def test_a_job_given_back_on_purpose_costs_no_attempt(store: JobStore) -> None:
    make(store, "a")
    for number in range(5):
        assert lifecycle.claim(store, "a", f"lease{number}", 2) is not None
        lifecycle.requeue(store, "a", f"lease{number}", count_attempt=False)


@pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED])
def test_what_has_ended_stays_ended(store: JobStore, end: JobState) -> None:
    make(store, "a")
    lifecycle.claim(store, "a", "lease", 2)
    if end is JobState.SUCCEEDED:
        lifecycle.succeed(store, "a", "lease", {"f": ResultFile(sha256="0", size=1)}, ["w", "w"])
    elif end is JobState.FAILED:
        lifecycle.fail(store, "a", "lease", FAILURE)
    else:
        lifecycle.request_cancel(store, "a")
        lifecycle.confirm_cancel(store, "a", "lease")
    record = store.get("a")
    assert record is not None
    assert record.state is end
    assert record.finished_at is not None
    assert record.lease is None
    assert lifecycle.claim(store, "a", "again", 9) is None
    assert lifecycle.request_cancel(store, "a") is None
    assert lifecycle.requeue(store, "a", None, count_attempt=True) is None
    with pytest.raises(ValueError, match="cannot become"):
        store.change("a", lambda old: old.changed(state=JobState.RUNNING))
    assert store.running_ids() == []
    assert store.finished_before(store.now()) == ["a"]


def test_a_waiting_job_is_canceled_at_once_and_a_running_one_by_its_worker(store: JobStore) -> None:
    make(store, "a")
    make(store, "b")
    lifecycle.claim(store, "b", "lease", 2)
    first, second = lifecycle.request_cancel(store, "a"), lifecycle.request_cancel(store, "b")
    assert first is not None
    assert second is not None
    assert first.state is JobState.CANCELED
    assert (second.state, second.cancel_requested) == (JobState.RUNNING, True)
    assert store.queue_position("a") is None


def test_only_ended_jobs_can_be_removed_and_nothing_of_them_stays(store: JobStore) -> None:
    make(store, "a")
    assert not store.remove("a")
    lifecycle.request_cancel(store, "a")
    assert store.remove("a")
    assert not store.remove("a")
    assert {str(key) for key in store._redis.scan_iter() if ":metric:" not in key} == {"cochlear:sequence"}


def test_an_expired_job_keeps_its_record_but_not_the_patient(store: JobStore) -> None:
    make(store, "a")
    store.change("a", lambda old: old.changed(landmarks={"landmarks": {}}))
    lifecycle.claim(store, "a", "lease", 2)
    lifecycle.succeed(store, "a", "lease", {"f": ResultFile(sha256="0", size=1)}, ())
    expired = lifecycle.expire(store, "a")
    assert expired is not None
    assert (expired.state, expired.files, expired.landmarks) == (JobState.EXPIRED, {}, None)
    assert store.finished_before(store.now()) == []


def test_pages_join_without_gap_or_overlap_while_jobs_come_and_go(store: JobStore) -> None:
    for number in range(7):
        make(store, f"job{number}")
    first = store.page(3)
    make(store, "late")
    lifecycle.request_cancel(store, first[-1].id)
    store.remove(first[-1].id)
    second = store.page(3, first[-1].sequence)
    third = store.page(3, second[-1].sequence)
    assert [record.id for record in (*first, *second, *third)] == [f"job{number}" for number in range(6, -1, -1)]


def test_workers_count_as_alive_for_a_while(store: JobStore) -> None:
    store.beat_worker("w1")
    store.beat_worker("w2")
    store.forget_worker("w2")
    assert store.live_workers() == ["w1"]
    time.sleep(STALE_S * 1.2)
    assert store.live_workers() == []


def test_a_key_never_has_more_jobs_than_it_may(store: JobStore) -> None:
    barrier = threading.Barrier(12)
    refused: list[int] = []

    def create(number: int) -> None:
        barrier.wait()
        try:
            store.create(draft(store, f"job{number}", owner="key"), max_active=5)
        except TooManyActiveError:
            refused.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), store.active_count("key"), len(store.page(100, owner="key"))) == (7, 5, 5)
    with pytest.raises(TooManyActiveError):
        store.create_all([draft(store, "x", "other"), draft(store, "y", "other")], max_active=1)
    assert store.page(100, owner="other") == []
    done = store.page(1, owner="key")[0]
    assert lifecycle.request_cancel(store, done.id) is not None
    store.create(draft(store, "next", owner="key"), max_active=5)
