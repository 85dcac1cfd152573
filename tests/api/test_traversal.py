"""Addresses and names that try to leave their folder: never a file, never a server error."""

from __future__ import annotations

import io
import json
import socket
import stat
import zipfile

import pytest
from service_fixtures import Ear, Service, as_json
from webhook_receiver import wait_until

from worker.jobs import JobState

PRIVATE = "serve.lock"
"""A file of the data folder that no address leads to."""
STEPS = ("..", "%2e%2e", "..%2f..", "%252e%252e%252f", "..\\", "..%5c", ".%00.", "%c0%ae%c0%ae", "....//", "%2f%2fetc")


@pytest.fixture(scope="module")
def done(service: Service, ear: Ear) -> str:
    job_id = str(service.submit(ear)["id"])
    assert service.wait_until_finished(job_id).state is JobState.SUCCEEDED
    return job_id


def raw(service: Service, target: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """Ask for an address exactly as it is written, which client libraries would tidy."""
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(
            f"{method} {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1")
            + body
        )
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("step", STEPS)
def test_no_address_leads_out_of_the_results(service: Service, done: str, step: str) -> None:
    for target in (
        f"/v1/jobs/{done}/{step}/{PRIVATE}",
        f"/v1/jobs/{done}/{step}/{step}/{PRIVATE}",
        f"/v1/jobs/{step}/{PRIVATE}",
        f"/v1/jobs/{done}/meshes/{step}/{step}/input.nii.gz",
        f"/v1/jobs/{done}/meshes/modiolus.{step}",
        f"/v1/jobs/{done}/masks/{step}.nii.gz",
        f"/v1/jobs/{done}/masks/{step}/{step}/input.nii.gz",
        f"/v1/models/{step}",
        f"/v1/aliases/{step}",
        f"/v1/batches/{step}/measurements.csv",
    ):
        status, answer = raw(service, target)
        assert 400 <= status < 500, (target, status)
        assert b"application/problem+json" in answer, target


@pytest.mark.parametrize("step", STEPS)
def test_no_change_is_made_outside(service: Service, done: str, step: str) -> None:
    def kept() -> set[str]:
        return {str(path) for path in service.data_dir.rglob("*") if "redis" not in path.parts}

    before = kept()
    target_of_alias = json.dumps({"bundle": "small"}).encode()
    for method, target, body in (
        ("DELETE", f"/v1/jobs/{step}", b""),
        ("DELETE", f"/v1/jobs/{step}/{done}", b""),
        ("DELETE", f"/v1/jobs/{done}/{step}", b""),
        ("POST", f"/v1/jobs/{step}/cancel", b""),
        ("DELETE", f"/v1/batches/{step}", b""),
        ("DELETE", f"/v1/aliases/{step}", b""),
        ("PUT", f"/v1/aliases/{step}", target_of_alias),
        ("PUT", "/v1/aliases/step", json.dumps({"bundle": step}).encode()),
    ):
        status, answer = raw(service, target, method, body)
        assert 400 <= status < 500, (method, target, status)
        assert b"application/problem+json" in answer, target
    assert kept() == before


@pytest.mark.parametrize("name", ["../small", "/etc", "small/../small", ".", "..", "small\0", "CON", "small ", ""])
def test_no_bundle_name_leads_out_of_the_bundles(service: Service, ear: Ear, name: str) -> None:
    before = service.stored_ids()
    form = ear.form()
    form["data"]["bundle"] = name
    refused = service.http.post("/v1/jobs", **form)
    assert (refused.status_code, as_json(refused)["type"]) == (422, "/problems/unknown-bundle")
    assert service.stored_ids() == before


@pytest.mark.parametrize(
    "name",
    [
        "../../out.nii.gz",
        "/var/out.nii.gz",
        "a/../../../out.nii.gz",
        "C:\\out.nii.gz",
        "\\\\h\\out",
        "out:x.nii.gz",
        "CON.out.nii.gz",
    ],
)
def test_no_member_of_an_archive_is_written_by_its_name(service: Service, ear: Ear, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, ear.image.read_bytes())
    manifest = json.dumps([{"name": name, "landmarks": json.loads(ear.landmarks.read_text())}])
    before = {path for path in service.data_dir.parent.rglob("*") if "out" in path.name}
    answer = service.http.post("/v1/batches", files={"archive": buffer.getvalue()}, data={"manifest": manifest})
    assert answer.status_code in (202, 422), answer.text
    assert {path for path in service.data_dir.parent.rglob("*") if "out" in path.name} == before
    if answer.status_code == 202:
        address = as_json(answer)["links"]["self"]
        wait_until(lambda: service.http.delete(address).status_code in (204, 404))


@pytest.mark.parametrize("to", ["/etc/passwd", "../../serve.lock", "/dev/zero", "/proc/self/environ"])
def test_a_link_in_an_archive_is_not_followed(service: Service, ear: Ear, to: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link.nii")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, to)
    before = service.stored_ids()
    manifest = json.dumps([{"name": "link.nii", "landmarks": json.loads(ear.landmarks.read_text())}])
    answer = service.http.post("/v1/batches", files={"archive": buffer.getvalue()}, data={"manifest": manifest})
    assert (answer.status_code, as_json(answer)["type"]) == (422, "/problems/no-usable-item"), answer.text
    assert "root:" not in answer.text
    wait_until(lambda: service.stored_ids() == before)
