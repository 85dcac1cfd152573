"""Who may do what on a running service that asks for keys."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from access_fixtures import MAX_ACTIVE, AsKey, answer_to, assert_problem, assert_safe, make_key
from service_fixtures import Ear, Service, as_json

from api.access.caller import Scope
from api.access.guard import WITHOUT_KEY
from api.access.keys import KeyFile
from api.client import CochlearClient, RejectedError
from api.retrying import send_patiently

JOB = "/v1/jobs/{job_id}"


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Give method and path of every operation of the OpenAPI document."""
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


def filled(path: str, job_id: str) -> str:
    """Give an address of the pattern that exists for a finished job."""
    return path.format(
        job_id=job_id, structure="scala_tympani", form="vtk", batch_id=job_id, name="small", alias="default"
    )


@pytest.fixture(scope="module")
def document(locked: Service, key_reader: str) -> dict[str, Any]:
    response = httpx.get(f"{locked.url}/openapi.json", headers={"X-API-Key": key_reader})
    return as_json(response)


@pytest.fixture(scope="module")
def job_of_a(locked: Service, ear: Ear, key_a: str) -> str:
    """A job of key A that has succeeded."""
    response = httpx.post(
        f"{locked.url}/v1/jobs", headers={"Authorization": f"Bearer {key_a}"}, timeout=30, **ear.form()
    )
    assert response.status_code == 202, response.text
    job = as_json(response)
    assert job["links"]["self"] == f"/ears/v1/jobs/{job['id']}", "addresses carry the prefix of the proxy"
    assert response.headers["location"] == job["links"]["self"]
    record = locked.wait_until_finished(job["id"])
    assert record.state == "succeeded"
    assert record.owner == key_a.split("_")[1]
    return str(job["id"])


def test_every_route_but_health_needs_a_key(locked: Service, document: dict[str, Any]) -> None:
    for method, path in operations(document):
        response = locked.http.request(method, filled(path, "x"))
        if path in WITHOUT_KEY:
            assert response.status_code in (200, 503)
            assert_safe(response)
        else:
            problem = assert_problem(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == 'Bearer realm="cochlear"'
            assert "cochlear keys create" in problem["errors"][0]["hint"]
    for path in ("/docs", "/openapi.json", "/nowhere", "/livez/", "//livez", "/livez/../v1/jobs", "/LIVEZ"):
        assert locked.http.get(path).status_code == 401, path


def test_what_is_not_a_valid_key_is_refused_in_the_same_words(
    locked: Service, key_a: str, key_b: str, as_key: AsKey
) -> None:
    expired = make_key(locked.data_dir, Scope.READ, expires_at=datetime.now(UTC))
    key_id, secret = key_a.split("_")[1:]
    wrong = [f"cochlear_{key_id}_{'0' * 64}", f"cochlear_{'0' * 12}_{secret}", expired, "x", key_a[:-1]]
    answers = {as_key(key).get("/v1/jobs").json()["detail"] for key in wrong}
    assert len(answers) == 1
    response = as_key(expired).get("/v1/jobs")
    assert_problem(response, 401, "unauthorized")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    both = as_key(key_a).get("/v1/jobs", headers={"X-API-Key": key_b})
    assert_problem(both, 401, "unauthorized")
    assert locked.http.get("/v1/jobs", headers={"X-API-Key": key_a}).status_code == 200
    assert locked.http.get("/v1/jobs", headers={"Authorization": f"bearer {key_a}"}).status_code == 200
    assert locked.http.get("/v1/jobs", headers={"Authorization": f"Basic {key_a}"}).status_code == 401
    assert locked.http.get("/v1/jobs", params={"api_key": key_a}).status_code == 401


def test_a_key_is_made_and_revoked_without_a_restart(locked: Service, as_key: AsKey) -> None:
    key = make_key(locked.data_dir, Scope.READ)
    with as_key(key) as client:
        assert client.get("/v1/jobs").status_code == 200
        KeyFile(locked.data_dir / "keys.json").remove(key.split("_")[1])
        assert_problem(client.get("/v1/jobs"), 401, "unauthorized")


def test_the_job_of_another_key_is_not_there(
    document: dict[str, Any], job_of_a: str, key_a: str, key_b: str, as_key: AsKey
) -> None:
    under_job = [(method, path) for method, path in operations(document) if "{job_id}" in path]
    assert len(under_job) >= 11
    mine, other = as_key(key_a), as_key(key_b)
    for method, path in under_job:
        theirs = other.request(method, filled(path, job_of_a))
        none = other.request(method, filled(path, "no-such-job"))
        assert_problem(theirs, 404, "no-such-job")
        for key in ("type", "title", "detail"):
            assert theirs.json()[key] == none.json()[key], "nothing tells that there is such a job"
        if method == "GET":
            with mine.stream(method, filled(path, job_of_a), timeout=10) as response:
                assert response.status_code == 200, path
                assert_safe(response)
    assert job_of_a not in [job["id"] for job in other.get("/v1/jobs").json()["jobs"]]
    assert job_of_a in [job["id"] for job in mine.get("/v1/jobs").json()["jobs"]]


def test_the_batch_of_another_key_is_not_there(ear: Ear, key_a: str, key_b: str, as_key: AsKey) -> None:
    mine, other = as_key(key_a), as_key(key_b)
    manifest = json.dumps([{"landmarks": json.loads(ear.landmarks.read_text())}])
    made = mine.post("/v1/batches", files={"image": ear.image.read_bytes()}, data={"manifest": manifest})
    assert made.status_code == 202, made.text
    address = f"/v1/batches/{made.json()['id']}"
    for method, path in (("GET", address), ("GET", address + "/measurements.csv"), ("DELETE", address)):
        assert_problem(other.request(method, path), 404, "no-such-batch")
    assert other.get("/v1/batches").json()["batches"] == []
    assert mine.get(address).status_code == 200
    assert mine.delete(address).status_code in (202, 204)


def test_an_admin_sees_the_jobs_of_all(job_of_a: str, key_admin: str, as_key: AsKey) -> None:
    admin = as_key(key_admin)
    assert job_of_a in [job["id"] for job in admin.get("/v1/jobs").json()["jobs"]]
    assert admin.get(f"/v1/jobs/{job_of_a}/manifest.json").status_code == 200


def test_a_key_may_do_what_its_scopes_say(locked: Service, job_of_a: str, key_reader: str, as_key: AsKey) -> None:
    reader = as_key(key_reader)
    assert reader.get("/v1/models").status_code == 200
    before = locked.stored_ids()
    # The body is never sent: the answer comes before it is read.
    problem = assert_problem(answer_to(locked, upload_head(key_reader, 1_000_000)), 403, "forbidden")
    assert problem["errors"][0]["expected"] == "submit"
    assert_problem(reader.delete(f"/v1/jobs/{job_of_a}"), 403, "forbidden")
    submitter = as_key(make_key(locked.data_dir, Scope.SUBMIT))
    assert_problem(submitter.get("/v1/jobs"), 403, "forbidden")
    assert locked.stored_ids() == before


def upload_head(key: str, length: int) -> bytes:
    """Give the head of an upload."""
    lines = ("POST /v1/jobs HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", f"Content-Length: {length}")
    return "\r\n".join((*lines, "Content-Type: multipart/form-data; boundary=b", "", "")).encode()


def test_no_more_jobs_of_a_key_wait_than_may(locked: Service, ear: Ear, key_b: str, as_key: AsKey) -> None:
    client, form = as_key(key_b), ear.form()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", **form), range(12)))
    # A job may end while others are sent, so more than the cap may be taken in the end, never at once.
    taken = [as_json(answer)["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(taken) >= MAX_ACTIVE
    assert len(taken) + len(refused) == 12
    for answer in refused:
        assert_problem(answer, 429, "too-many-jobs")
        assert int(answer.headers["retry-after"]) > 0
    for job_id in taken:
        client.delete(f"/v1/jobs/{job_id}")
        locked.wait_until_finished(job_id)
    last = client.post("/v1/jobs", **form)
    assert last.status_code == 202
    client.delete(last.headers["location"].removeprefix("/ears"))


def test_the_client_tries_again_when_it_is_told_to() -> None:
    answers = [httpx.Response(429, headers={"Retry-After": "0"}), httpx.Response(503, headers={"Retry-After": "1"})]
    answers += [httpx.Response(200)] * 2
    left = iter(answers)
    start = time.monotonic()
    assert send_patiently(lambda: next(left), patience_s=10).status_code == 200
    assert time.monotonic() - start >= 1
    assert len(list(left)) == 1
    for answer in (
        httpx.Response(503, headers={"Retry-After": "60"}),
        httpx.Response(503),
        httpx.Response(409, headers={"Retry-After": "1"}),
        httpx.Response(429, headers={"Retry-After": "soon"}),
    ):
        once = iter([answer])
        assert send_patiently(lambda once=once: next(once), patience_s=10) is answer  # type: ignore[misc]


def test_the_client_sends_its_key(locked: Service, job_of_a: str, key_a: str) -> None:
    with CochlearClient(locked.url, api_key=key_a) as client:
        assert client.job(job_of_a)["state"] == "succeeded"
    with CochlearClient(locked.url) as client, pytest.raises(RejectedError, match="no API key"):
        client.job(job_of_a)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "POST"])
def test_bodies_are_capped_on_every_route(
    locked: Service, key_a: str, as_key: AsKey, method: str, job_of_a: str
) -> None:
    client, path = as_key(key_a), "/v1/models" if method != "DELETE" else "/v1/jobs/none"
    assert_problem(client.request(method, path, content=b"x" * 70_000), 413, "body-too-large")


def test_a_huge_declared_upload_is_refused_unread(locked: Service, key_a: str) -> None:
    assert_problem(answer_to(locked, upload_head(key_a, 900_000_000)), 413, "upload-too-large")


NAMED = b'Content-Disposition: form-data; name="image"\r\n\r\nx\r\n--b--\r\n'
BODIES = {
    "many-headers": b"--b\r\n" + b"X-A: 1\r\n" * 50 + NAMED,
    "long-header": b"--b\r\nX-A: " + b"a" * 20_000 + b"\r\n" + NAMED,
    "long-header-name": b"--b\r\n" + b"a" * 20_000 + b": 1\r\n" + NAMED,
    "long-preamble": b"x" * 20_000 + b"\r\n--b--\r\n",
}


@pytest.mark.parametrize("name", BODIES)
def test_odd_parts_are_malformed(locked: Service, key_a: str, as_key: AsKey, name: str) -> None:
    before = locked.stored_ids()
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    assert_problem(as_key(key_a).post("/v1/jobs", headers=head, content=BODIES[name]), 400, "malformed-upload")
    assert locked.stored_ids() == before


def test_many_parts_are_refused(locked: Service, key_a: str, as_key: AsKey) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="side"\r\n\r\nleft\r\n'
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    response = as_key(key_a).post("/v1/jobs", headers=head, content=part * 5000 + b"--b--\r\n")
    assert_problem(response, 422, "invalid-option")


def test_the_reference_page_needs_no_other_server(document: dict[str, Any], key_a: str, as_key: AsKey) -> None:
    page = as_key(key_a).get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert_safe(page)
    assert "<script" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert all(f"/ears{path}" in page.text for path in document["paths"])


def test_names_of_downloads_are_safe(job_of_a: str, key_a: str, as_key: AsKey) -> None:
    client = as_key(key_a)
    for path in ("masks/labels.nii.gz", "archive.zip", "meshes/modiolus.stl"):
        with client.stream("GET", f"/v1/jobs/{job_of_a}/{path}") as response:
            name = response.headers["content-disposition"]
            assert name == f'attachment; filename="{job_of_a[:8]}-{path.rpartition("/")[2]}"'
            assert response.headers["cache-control"].startswith("private")


def test_polling_many_jobs_is_no_burden(locked: Service, job_of_a: str, key_admin: str, as_key: AsKey) -> None:
    client = as_key(key_admin)
    start = time.monotonic()
    answers = Counter(client.get(f"/v1/jobs/{job_of_a}").status_code for _ in range(80))
    assert answers == {200: 80}, f"{time.monotonic() - start:.1f} s"


def test_the_document_names_keys_and_refusals(document: dict[str, Any]) -> None:
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if path not in WITHOUT_KEY:
                assert {"401", "403", "413", "429", "503"} <= set(operation["responses"])
                assert {"bearer": []} in operation["security"]


def test_no_key_stands_in_the_log(locked: Service, job_of_a: str, key_a: str, key_b: str, key_admin: str) -> None:
    log = "".join(locked.log)
    assert "cochlear keys create" in log, "that there was no key yet is said"
    for key in (key_a, key_b, key_admin):
        assert key.rpartition("_")[2] not in log
