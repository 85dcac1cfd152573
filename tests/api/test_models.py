"""Several models at once, the default switched while jobs run, digests held to, memory that does not suffice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from service_fixtures import BUNDLE, Ear, Service, as_json, write_small_bundle

from model.bundle import bundle_digest
from worker.jobs import JobState

OTHER = "other"
MEMORY_LIMIT = 1000 * 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in (BUNDLE, OTHER):
        write_small_bundle(folder, name)
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Service]:
    """A service with two models whose memory is capped."""
    with Service(tmp_path_factory.mktemp("data"), folder, COCHLEAR_MEMORY_LIMIT_BYTES=str(MEMORY_LIMIT)) as service:
        yield service


@contextmanager
def replaced(bundle: Path) -> Iterator[str]:
    """Put another manifest in the place of a bundle's for a while, and give its digest."""
    manifest = bundle / "bundle.json"
    kept = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(kept), "version": "9.9.9"}))
    try:
        yield bundle_digest(bundle)
    finally:
        manifest.write_text(kept)


def point(service: Service, alias: str, **target: str) -> dict[str, Any]:
    response = service.http.put(f"/v1/aliases/{alias}", json=target)
    assert response.status_code == 200, response.text
    return as_json(response)


def test_the_default_is_switched_under_running_jobs(service: Service, folder: Path, ear: Ear) -> None:
    before = service.submit(ear)
    assert before["bundle"] == BUNDLE
    waiting = service.submit(ear)
    set_to = point(service, "default", bundle=OTHER)
    after = service.submit(ear)
    assert (set_to["digest"], after["bundle"]) == (bundle_digest(folder / OTHER), OTHER)
    flags = {model["name"]: model["default"] for model in service.http.get("/v1/models").json()["models"]}
    assert flags == {BUNDLE: False, OTHER: True}
    point(service, "default", bundle=BUNDLE)
    history = as_json(service.http.get("/v1/aliases/default"))["history"]
    assert [entry["bundle"] for entry in history] == [BUNDLE, OTHER]
    assert service.http.delete("/v1/aliases/default").status_code == 204
    for job, name in ((before, BUNDLE), (waiting, BUNDLE), (after, OTHER)):
        assert service.wait_until_finished(job["id"]).state is JobState.SUCCEEDED
        report = service.http.get(f"/v1/jobs/{job['id']}/report.json").json()
        digest = bundle_digest(folder / name)
        assert (report["model"]["name"], report["model"]["digest"], job["bundle_digest"]) == (name, digest, digest)


def test_a_bundle_replaced_on_disk_is_never_taken_for_the_one_meant(service: Service, folder: Path, ear: Ear) -> None:
    old = point(service, "clinic", bundle=OTHER)["digest"]
    first, second = service.submit(ear), service.submit(ear, bundle="clinic")
    with replaced(folder / OTHER) as new:
        assert new != old
        for wanted in ("clinic", f"{OTHER}@{old}"):
            refused = service.http.post("/v1/jobs", files=ear.form()["files"], data={"bundle": wanted})
            assert (refused.status_code, as_json(refused)["type"]) == (409, "/problems/bundle-changed")
        third = service.submit(ear, bundle=f"{OTHER}@{new}")
        assert service.wait_until_finished(first["id"]).state is JobState.SUCCEEDED
        failed = service.wait_until_finished(second["id"])
        assert failed.failure is not None
        assert (failed.bundle_digest, failed.failure.code) == (old, "bundle-changed")
        assert service.wait_until_finished(third["id"]).state is JobState.SUCCEEDED
    again = service.submit(ear, bundle="clinic")
    assert service.wait_until_finished(again["id"]).state is JobState.SUCCEEDED
    assert service.http.delete("/v1/aliases/clinic").status_code == 204


@pytest.mark.parametrize(
    ("alias", "target", "status", "kind"),
    [
        ("stable", {"bundle": "nowhere"}, 422, "unknown-bundle"),
        ("stable", {"bundle": "../checkpoints/small"}, 422, "unknown-bundle"),
        ("stable", {"bundle": OTHER, "digest": "0" * 64}, 409, "bundle-changed"),
        ("stable", {"bundle": OTHER, "digets": "0" * 64}, 422, "invalid-input"),
        ("stable", {}, 422, "invalid-input"),
        (OTHER, {"bundle": BUNDLE}, 422, "invalid-option"),
        ("a@b", {"bundle": BUNDLE}, 422, "invalid-option"),
    ],
)
def test_aliases_point_only_where_something_is(
    service: Service, alias: str, target: dict[str, str], status: int, kind: str
) -> None:
    refused = service.http.put(f"/v1/aliases/{alias}", json=target)
    assert (refused.status_code, as_json(refused)["type"]) == (status, f"/problems/{kind}")
    assert service.http.get(f"/v1/aliases/{alias}").status_code == 404
    assert service.http.delete(f"/v1/aliases/{alias}").status_code == 404


def test_a_damaged_bundle_is_not_pointed_to(service: Service, folder: Path) -> None:
    weights = folder / OTHER / "weights.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        for answer in (
            service.http.put("/v1/aliases/stable", json={"bundle": OTHER}),
            service.http.get(f"/v1/models/{OTHER}"),
        ):
            assert (answer.status_code, as_json(answer)["type"]) == (409, "/problems/damaged-bundle")
    finally:
        weights.write_bytes(kept)
    assert as_json(service.http.get(f"/v1/models/{OTHER}"))["digest"] == bundle_digest(folder / OTHER)


def test_a_job_that_needs_too_much_memory_fails_as_such_and_the_next_is_fine(
    service: Service, ear: Ear, tmp_path: Path
) -> None:
    small: Any = nibabel.load(ear.image)
    image = np.zeros((450, 450, 450), np.int16)
    image[:52, :56, :60] = np.asarray(small.dataobj)
    nibabel.Nifti1Image(image, small.affine).to_filename(tmp_path / "big.nii.gz")
    big = service.submit(Ear(tmp_path / "big.nii.gz", ear.landmarks))
    child = service.worker_ids()[1]
    failed = service.wait_until_finished(big["id"])
    assert failed.failure is not None
    assert (failed.failure.code, failed.attempt) == ("out-of-memory", 1)
    after = service.submit(ear)
    done = service.wait_until_finished(after["id"])
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert service.worker_ids()[1] != child, "a fresh process took over"
