"""Webhooks on the real stack: every end is told, signed, until it is taken, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_fixtures import SETTINGS, mentions
from service_fixtures import Ear, Json, Service, as_json
from webhook_receiver import Receiver, wait_until


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def told(service: Service, job: Json) -> Json:
    """Give how the delivery of a job stands, once nothing waits."""
    state: Json = {}

    def settled() -> bool:
        state.update(as_json(service.http.get(job["links"]["self"]))["webhook"])
        return state["waiting"] == 0 and (state["delivered_at"] or state["given_up_at"]) is not None

    wait_until(settled)
    return state


def test_a_receiver_that_fails_at_first_is_told_again(controlled: Service, ear: Ear, receiver: Receiver) -> None:
    receiver.answers["retry"] = [(503, {}), (429, {"Retry-After": "1"}), (408, {})]
    job = controlled.submit(ear, webhook=receiver.url("retry"))
    assert job["webhook"]["host"] == "127.0.0.1"
    assert "retry" not in str(job["webhook"]), "addresses may hold secrets"
    state = told(controlled, job)
    tries = receiver.of("retry")
    assert len({item.id for item in tries}) == 1
    assert len(tries) == state["attempts"] == 4
    assert all(item.genuine for item in tries)
    assert tries[0].body == tries[-1].body
    assert tries[2].at - tries[1].at >= 1.0, "Retry-After is honoured"
    assert (state["last_status"], state["last_error"], state["given_up_at"]) == (204, None, None)
    body = tries[-1].body
    assert (body["type"], body["data"]["id"], body["data"]["state"]) == ("job.succeeded", job["id"], "succeeded")
    assert body["data"]["links"]["results"]["report.json"].endswith(job["id"] + "/report.json")
    assert not {"landmarks", "owner", "lease"} & set(body["data"])
    assert "-21.6" not in str(body)


def test_chosen_events_come_in_order_and_others_do_not(controlled: Service, ear: Ear, receiver: Receiver) -> None:
    job = controlled.submit(ear, webhook=receiver.url("events"), webhook_events="succeeded, running")
    quiet = controlled.submit(ear, webhook=receiver.url("quiet"), webhook_events="failed")
    controlled.wait_until_finished(quiet["id"])
    told(controlled, job)
    assert [item.body["type"] for item in receiver.of("events")] == ["job.running", "job.succeeded"]
    assert len({item.id for item in receiver.of("events")}) == 2
    assert receiver.of("quiet") == []


@pytest.mark.parametrize(("status", "tries"), [(410, 1), (400, 1), (500, 4)])
def test_messages_are_given_up(controlled: Service, ear: Ear, receiver: Receiver, status: int, tries: int) -> None:
    path = f"up{status}"
    receiver.answers[path] = [(status, {})] * 9
    job = controlled.submit(ear, webhook=receiver.url(path))
    controlled.http.delete(job["links"]["self"])
    state = told(controlled, job)
    assert (state["attempts"], state["last_status"], state["delivered_at"]) == (tries, status, None)
    assert [item.body["data"]["state"] for item in receiver.of(path)] == ["canceled"] * tries


def test_redirects_are_not_followed(controlled: Service, ear: Ear, receiver: Receiver) -> None:
    receiver.answers["moved"] = [(307, {"Location": receiver.url("secret")})]
    job = controlled.submit(ear, webhook=receiver.url("moved"))
    controlled.http.delete(job["links"]["self"])
    assert told(controlled, job)["last_status"] == 307
    assert receiver.of("secret") == []


def test_an_unusable_webhook_is_refused_and_nothing_kept(controlled: Service, service: Service, ear: Ear) -> None:
    before = controlled.stored_ids()
    form = ear.form()
    for fields, name in (
        ({"webhook": "https://10.0.0.1/"}, "webhook"),
        ({"webhook": "http://1.1.1.1/"}, "webhook"),
        ({"webhook": "http://127.0.0.1/", "webhook_events": "done"}, "webhook_events"),
        ({"webhook_events": "failed"}, "webhook_events"),
    ):
        response = controlled.http.post("/v1/jobs", files=form["files"], data=form["data"] | fields)
        assert (response.status_code, as_json(response)["errors"][0]["field"]) == (422, name), response.text
    assert controlled.stored_ids() == before
    response = service.http.post("/v1/jobs", files=form["files"], data=form["data"] | {"webhook": "https://1.1.1.1/"})
    assert (response.status_code, as_json(response)["detail"]) == (422, "this service sends no webhooks")


def test_nothing_is_left_of_an_erased_job_that_waits_to_be_told(
    controlled: Service, ear: Ear, receiver: Receiver
) -> None:
    receiver.answers["late"] = [(503, {"Retry-After": "60"})]
    job = controlled.submit(ear, webhook=receiver.url("late"))
    controlled.wait_until_finished(job["id"])
    receiver.wait_for("late", 1)
    assert controlled.http.delete(job["links"]["self"]).status_code == 204
    wait_until(lambda: mentions(controlled, job["id"]) == [])


def test_what_was_to_be_told_is_told_after_a_kill(
    tmp_path: Path, checkpoints: Path, ear: Ear, receiver: Receiver
) -> None:
    receiver.answers["killed"] = [(503, {"Retry-After": "2"})]
    with Service(tmp_path, checkpoints, **SETTINGS) as first:
        job = first.submit(ear, webhook=receiver.url("killed"))
        first.http.delete(job["links"]["self"])
        receiver.wait_for("killed", 1)
        wait_until(lambda: as_json(first.http.get(job["links"]["self"]))["webhook"]["last_status"] == 503)
        # The embedded server writes its file every second.
        time.sleep(1.2)
        first.kill()
    assert len(receiver.of("killed")) == 1
    with Service(tmp_path, checkpoints, **SETTINGS) as second:
        assert told(second, job)["last_status"] == 204
    tries = receiver.of("killed")
    assert len(tries) == 2
    assert tries[0].id == tries[1].id
