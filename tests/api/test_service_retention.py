"""What is kept for how long, and that erasing leaves nothing, on the real stack."""

from __future__ import annotations

import time

import httpx
import pytest
from control_fixtures import mentions
from service_fixtures import Ear, Service, as_json
from webhook_receiver import wait_until

from worker.jobs import JobState


def test_a_job_expires_at_the_time_it_tells_and_is_forgotten_later(controlled: Service, ear: Ear) -> None:
    job = controlled.submit(ear, expires_in="1")
    assert job["expires_at"] is None
    address, folder = job["links"]["self"], controlled.data_dir / "jobs" / job["id"]
    finished = controlled.wait_until_finished(job["id"])
    assert finished.finished_at is not None
    record = controlled.wait_for(job["id"], lambda record: record.state is JobState.EXPIRED)
    wait_until(lambda: not folder.exists())
    expired = as_json(controlled.http.get(address))
    assert 1.0 <= (record.updated_at - finished.finished_at).total_seconds() < 5.0
    assert (expired["state"], expired["links"]["results"]) == ("expired", {})
    assert expired["finished_at"] < expired["expires_at"]
    for name in ("report.json", "meshes/modiolus.stl", "meshes/modiolus.obj", "masks/labels.nii.gz"):
        response = controlled.http.get(f"{address}/{name}")
        assert (response.status_code, as_json(response)["type"]) == (410, "/problems/job-expired")
    wait_until(lambda: controlled.http.get(address).status_code == 404)
    wait_until(lambda: mentions(controlled, job["id"]) == [])


def test_the_image_of_a_job_without_result_is_erased_too(controlled: Service, ear: Ear) -> None:
    first, job = controlled.submit(ear), controlled.submit(ear, expires_in="1")
    image = controlled.data_dir / "jobs" / job["id"] / "input.nii.gz"
    image.write_bytes(b"damaged")
    controlled.http.delete(first["links"]["self"])
    assert controlled.wait_until_finished(job["id"]).state is JobState.FAILED
    wait_until(lambda: not image.parent.exists())


def test_the_service_keeps_nothing_longer_than_it_says(controlled: Service, service: Service, ear: Ear) -> None:
    jobs = [(one, one.submit(ear, expires_in="9999999999")) for one in (controlled, service)]
    times = []
    for one, job in jobs:
        one.http.delete(job["links"]["self"])
        one.wait_until_finished(job["id"])
        ended = as_json(one.http.get(job["links"]["self"]))
        times.append(ended["expires_at"][:4])
    assert times[0] == time.strftime("%Y", time.gmtime(time.time() + 3600))
    assert times[1] > "2300", "without a limit of the service, the wish is followed"


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon", "", "1e9", "٣", "99999999999"])
def test_a_time_that_is_none_is_refused(controlled: Service, ear: Ear, text: str) -> None:
    form = ear.form()
    response = controlled.http.post("/v1/jobs", files=form["files"], data=form["data"] | {"expires_in": text})
    assert (response.status_code, as_json(response)["errors"][0]["field"]) == (422, "expires_in")


def test_nothing_mentions_an_erased_job(controlled: Service, ear: Ear) -> None:
    job = controlled.submit(ear)
    controlled.wait_until_finished(job["id"])
    assert len(mentions(controlled, job["id"])) > 10, "the search finds what is there"
    assert controlled.http.delete(job["links"]["self"]).status_code == 204
    wait_until(lambda: mentions(controlled, job["id"]) == [], 5)


def test_a_download_that_began_ends_well_or_visibly(controlled: Service, ear: Ear) -> None:
    job = controlled.submit(ear)
    controlled.wait_until_finished(job["id"])
    address = job["links"]["self"]
    file = controlled.data_dir / "jobs" / job["id"] / "results" / "displacement.nii.gz"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(httpx.RemoteProtocolError, match="complete"):
        controlled.http.get(f"{address}/displacement.nii.gz")
    file.write_bytes(content)
    with controlled.http.stream("GET", f"{address}/displacement.nii.gz") as response:
        assert controlled.http.delete(address).status_code == 204
        assert b"".join(response.iter_raw()) == content
    assert not file.exists()
