"""Waiting, following, repeating and canceling jobs over HTTP, on the real stack and two API processes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from service_fixtures import BUNDLE, COMMAND, STALE_S, Ear, Json, Service, as_json

from worker.jobs import JobState
from worker.redis_connection import connect


@contextmanager
def another_api(service: Service, checkpoints: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run a second API process on the Redis server and files of a service."""
    environment = {
        **os.environ,
        "COCHLEAR_REDIS_URL": service.redis_url,
        "COCHLEAR_CHECKPOINTS": str(checkpoints),
        "COCHLEAR_BUNDLE": BUNDLE,
        "COCHLEAR_STALE_AFTER_S": str(STALE_S),
    }
    command = [*COMMAND, "api", "--port", "0", "--data-dir", str(service.data_dir)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().partition(" at ")[2].split()[0]
        with httpx.Client(base_url=address, timeout=30) as http:
            yield process, http
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def second(service: Service, checkpoints: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    with another_api(service, checkpoints) as found:
        yield found


@pytest.fixture(scope="module")
def done(service: Service, ear: Ear) -> Json:
    """A job that ended while its request waited."""
    response = service.http.post("/v1/jobs", **ear.form(), headers={"Prefer": "respond-async, wait=25"})
    job = as_json(response)
    assert (response.status_code, job["state"]) == (200, "succeeded"), response.text
    assert response.headers["preference-applied"] == "wait=25"
    assert response.headers["location"] == job["links"]["self"]
    assert "retry-after" not in response.headers
    assert job["links"]["cancel"] is None
    return job


def test_a_wait_that_is_too_short_answers_as_without(service: Service, ear: Ear, done: Json) -> None:
    first, second = service.submit(ear), service.http.post("/v1/jobs", **ear.form(), headers={"Prefer": "wait=0"})
    assert (second.status_code, second.headers["preference-applied"]) == (202, "wait=0")
    job = as_json(second)
    assert (job["state"], job["queue_position"]) != ("succeeded", None)
    assert job["links"]["cancel"] == f"/v1/jobs/{job['id']}/cancel"
    assert job["estimated_end_at"] is not None, "a job of this bundle has succeeded"
    assert done["estimated_end_at"] is None
    for one in (first, job):
        waited = as_json(service.http.get(one["links"]["self"], params={"wait": 30}))
        assert waited["state"] == "succeeded", "the answer comes when it has ended"


def test_a_long_poll_answers_at_a_change_and_at_the_end_of_its_time(service: Service, ear: Ear, done: Json) -> None:
    begun = time.monotonic()
    tag = service.http.get(done["links"]["self"]).headers["etag"]
    assert service.http.get(done["links"]["self"], params={"wait": 20}).status_code == 200
    assert time.monotonic() - begun < 5, "nothing more can happen to it"
    job = service.submit(ear)
    address, seen, answers = job["links"]["self"], [job["state"]], 0
    tag = service.http.get(address).headers["etag"]
    while seen[-1] != "succeeded":
        answer = service.http.get(address, params={"wait": 20}, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.headers["etag"] != tag) == (200, True)
        tag, answers = answer.headers["etag"], answers + 1
        seen.append(as_json(answer)["state"])
    assert "running" in seen
    assert 3 < answers < 60
    assert service.http.get(address, params={"wait": 61}).status_code == 422
    os.kill(service.worker_ids()[0], signal.SIGSTOP)
    try:
        waiting = service.submit(ear)
        address = waiting["links"]["self"]
        time.sleep(4)
        tag, begun = service.http.get(address).headers["etag"], time.monotonic()
        answer = service.http.get(address, params={"wait": 2}, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert 1.9 < time.monotonic() - begun < 4
        assert as_json(service.http.get(address))["estimated_start_at"] is None, "no worker lives"
    finally:
        os.kill(service.worker_ids()[0], signal.SIGCONT)
    assert service.http.post(address + "/cancel").status_code in (200, 202)
    service.wait_until_finished(waiting["id"])


def events_of(http: httpx.Client, address: str, after: str | None = None, most: int = 10**6) -> list[dict[str, Any]]:
    """Read a stream of events to its end, or the first few."""
    headers = {} if after is None else {"Last-Event-ID": after}
    found: list[dict[str, Any]] = []
    with http.stream("GET", address, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if name in ("event", "id"):
                event[name] = value
            elif name == "data":
                event["data"] = json.loads(value)
            elif not line and event:
                found.append(event)
                event = {}
                if len(found) == most:
                    break
    return found


def test_events_come_once_each_and_go_on_where_they_ended(
    service: Service, second: tuple[subprocess.Popen[str], httpx.Client], ear: Ear
) -> None:
    job = service.submit(ear)
    address = job["links"]["events"]
    live = events_of(second[1], address, most=4)
    live += events_of(service.http, address, after=live[-1]["id"])
    again = events_of(second[1], address)
    assert live == again
    assert [event["event"] for event in live] == ["changed"] * (len(live) - 1) + ["completed"]
    states = [event["data"]["state"] for event in live]
    assert (states[0], states[1], states[-1]) == ("queued", "running", "succeeded")
    stages = [event["data"]["stage"] for event in live]
    assert {"load", "register", "mask", "write", "publish"} <= set(stages)
    progress = [event["data"]["progress"] for event in live]
    assert progress == sorted(progress)
    assert len({event["id"] for event in live}) == len(live)
    for number in (0, len(live) // 2):
        assert events_of(service.http, address, after=live[number]["id"]) == live[number + 1 :]
    last = service.http.get(address, headers={"Last-Event-ID": live[-1]["id"]})
    assert (last.status_code, last.content) == (204, b"")
    assert service.http.get(address, headers={"Last-Event-ID": "x"}).status_code == 422
    assert service.http.delete(job["links"]["self"]).status_code == 204
    assert service.http.get(address).status_code == 404


def test_one_key_makes_one_job_on_any_number_of_apis(
    service: Service, second: tuple[subprocess.Popen[str], httpx.Client], ear: Ear
) -> None:
    before = len(service.store.page(1000))

    def send(number: int, **changes: str) -> httpx.Response:
        form = ear.form()
        form["data"].update(changes)
        http = service.http if number % 2 else second[1]
        return http.post("/v1/jobs", **form, headers={"Idempotency-Key": '"once"'})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert sum("idempotent-replayed" not in answer.headers for answer in accepted) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert as_json(answer)["type"] == "/problems/idempotency-key-busy"
            assert int(answer.headers["retry-after"]) > 0
    assert len({answer.headers["location"] for answer in accepted}) == 1
    assert len(service.store.page(1000)) == before + 1
    again = send(0)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.headers["location"] == accepted[0].headers["location"]
    other = send(1, formats="ply")
    assert (other.status_code, as_json(other)["type"]) == (422, "/problems/idempotency-key-reused")
    service.wait_until_finished(as_json(again)["id"])
    assert len(service.store.page(1000)) == before + 1


def test_a_refused_submission_does_not_use_up_its_key(service: Service, ear: Ear) -> None:
    headers = {"Idempotency-Key": "refused-first"}
    refused = service.http.post("/v1/jobs", files={"image": b"no image"}, headers=headers)
    assert refused.status_code == 422
    accepted = service.http.post("/v1/jobs", **ear.form(), headers=headers)
    assert accepted.status_code == 202
    assert "idempotent-replayed" not in accepted.headers
    malformed = service.http.post("/v1/jobs", **ear.form(), headers={"Idempotency-Key": "a b"})
    assert (malformed.status_code, as_json(malformed)["type"]) == (400, "/problems/invalid-idempotency-key")
    address = as_json(accepted)["links"]["self"]
    first, again = service.http.post(address + "/cancel"), service.http.post(address + "/cancel")
    assert {first.status_code, again.status_code} <= {200, 202}
    service.wait_until_finished(as_json(accepted)["id"])
    final = service.http.post(address + "/cancel")
    assert (final.status_code, as_json(final)["state"]) == (200, "canceled")


def test_canceling_an_ended_job_leaves_it(service: Service, done: Json) -> None:
    answer = service.http.post(done["links"]["self"] + "/cancel")
    assert (answer.status_code, as_json(answer)) == (200, as_json(service.http.get(done["links"]["self"])))
    assert service.http.post("/v1/jobs/none/cancel").status_code == 404


def test_files_come_in_parts(service: Service, done: Json) -> None:
    address = done["links"]["results"]["report.json"]
    whole = service.http.get(address)
    size, tag = len(whole.content), whole.headers["etag"]
    digest = base64.b64encode(hashlib.sha256(whole.content).digest()).decode()
    assert whole.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert whole.headers["accept-ranges"] == "bytes"
    for wanted, part in (
        ("0-9", slice(0, 10)),
        ("5-", slice(5, None)),
        ("-7", slice(-7, None)),
        ("3-99999999", slice(3, None)),
    ):
        answer = service.http.get(address, headers={"Range": f"bytes={wanted}", "If-Range": tag})
        begin, end, _ = part.indices(size)
        assert (answer.status_code, answer.content) == (206, whole.content[part])
        assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{size}"
        assert answer.headers["repr-digest"] == whole.headers["repr-digest"]
    for ignored in ({"Range": "bytes=0-1,4-5"}, {"Range": "lines=1-2"}, {"Range": "bytes=5-2"}, {"Range": "bytes=-"}):
        assert service.http.get(address, headers=ignored).content == whole.content
    changed = service.http.get(address, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    for nowhere in (f"bytes={size}-", "bytes=-0"):
        refused = service.http.get(address, headers={"Range": nowhere})
        assert (refused.status_code, as_json(refused)["type"]) == (416, "/problems/range-not-satisfiable")
        assert refused.headers["content-range"] == f"bytes */{size}"
    rendered = service.http.get(f"{done['links']['self']}/meshes/labyrinth.obj", headers={"Range": "bytes=0-99"})
    assert (rendered.status_code, len(rendered.content)) == (206, 100)
    unchanged = service.http.get(address, headers={"Range": "bytes=0-9", "If-None-Match": tag})
    assert unchanged.status_code == 304


def test_many_wait_without_a_thread_or_connection_each_and_a_stop_lets_them_go(
    service: Service, checkpoints: Path, ear: Ear
) -> None:
    many = 60
    redis = connect(f"unix://{service.data_dir / 'redis' / 'redis.sock'}")
    os.kill(service.worker_ids()[0], signal.SIGSTOP)
    try:
        job = service.submit(ear)
        with another_api(service, checkpoints) as (process, http):
            before = len(redis.client_list())

            async def wait_all() -> list[int]:
                limits = httpx.Limits(max_connections=None)
                async with httpx.AsyncClient(base_url=http.base_url, timeout=60, limits=limits) as client:
                    params = {"wait": 50}
                    address = job["links"]["self"]
                    polls = [asyncio.create_task(client.get(address, params=params)) for _ in range(many)]
                    streams = [asyncio.create_task(client.get(job["links"]["events"])) for _ in range(many)]
                    await asyncio.sleep(3)
                    assert not any(task.done() for task in (*polls, *streams))
                    assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) < 60
                    assert len(redis.client_list()) - before < 50
                    begun = time.monotonic()
                    process.send_signal(signal.SIGTERM)
                    answers = await asyncio.gather(*polls, *streams)
                    await asyncio.to_thread(process.wait, 10)
                    assert time.monotonic() - begun < 4.5, "before the server's own patience ends"
                    return [answer.status_code for answer in answers]

            assert asyncio.run(wait_all()) == [200] * 2 * many
            assert process.returncode in (0, -signal.SIGTERM)
    finally:
        os.kill(service.worker_ids()[0], signal.SIGCONT)
        redis.close()
    assert service.wait_until_finished(job["id"]).state is JobState.SUCCEEDED
