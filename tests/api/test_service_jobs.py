"""Jobs over HTTP on the real stack, from POST to files."""

from __future__ import annotations

import hashlib
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import trimesh
from service_fixtures import BUNDLE, Ear, Json, Service, as_json

from model.structures import STRUCTURE_IDS
from worker.jobs import JobState


def load_image(path: Path) -> Any:  # noqa: ANN401  (nibabel types only what all formats share)
    return nibabel.load(path)


@pytest.fixture(scope="module")
def done(service: Service, ear: Ear) -> Json:
    job = service.submit(ear, formats="vtk,ply")
    assert service.wait_until_finished(job["id"]).state is JobState.SUCCEEDED
    return as_json(service.http.get(f"/v1/jobs/{job['id']}"))


def test_an_accepted_job_says_where_it_is(service: Service, ear: Ear) -> None:
    response = service.http.post("/v1/jobs", **ear.form())
    job = as_json(response)
    assert response.status_code == 202
    assert response.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert int(response.headers["retry-after"]) > 0
    assert (job["state"], job["bundle"], job["side"], job["problem"]) == ("queued", BUNDLE, "left", None)
    assert job["links"]["results"] == {}
    service.wait_until_finished(job["id"])


def test_a_finished_job_tells_its_times_and_links(done: Json) -> None:
    assert (done["state"], done["progress"], done["attempt"], done["stage"]) == ("succeeded", 1.0, 1, None)
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    expected = {f"meshes/{name}.{form}" for name in STRUCTURE_IDS for form in ("vtk", "ply")}
    expected |= {f"masks/{name}.nii.gz" for name in (*STRUCTURE_IDS, "labels")}
    expected |= {"masks/segmentation.seg.nrrd", "displacement.nii.gz", "report.json", "manifest.json"}
    assert set(done["links"]["results"]) == expected | {"preview.png", "archive.zip"}


def test_every_link_gives_the_file_of_the_manifest(service: Service, done: Json) -> None:
    links = done["links"]["results"]
    manifest = {entry["name"]: entry["sha256"] for entry in service.http.get(links["manifest.json"]).json()["files"]}
    for name, address in links.items():
        response = service.http.get(address)
        digest = hashlib.sha256(response.content).hexdigest()
        assert response.status_code == 200
        assert response.headers["etag"] == f'"{digest}"'
        assert "attachment" in response.headers["content-disposition"]
        assert "private" in response.headers["cache-control"]
        assert manifest.get(name, digest) == digest
        again = service.http.get(address, headers={"If-None-Match": f'"{digest}"'})
        assert (again.status_code, again.content) == (304, b"")
    with zipfile.ZipFile(io.BytesIO(service.http.get(links["archive.zip"]).content)) as archive:
        assert archive.testzip() is None
        assert set(manifest) <= set(archive.namelist())


def test_masks_lie_on_the_grid_of_the_image(service: Service, done: Json, ear: Ear, tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(service.http.get(done["links"]["results"]["masks/labels.nii.gz"]).content)
    labels, image = load_image(path), load_image(ear.image)
    assert labels.shape == image.shape
    np.testing.assert_allclose(labels.affine, image.affine, atol=1e-5)
    assert set(np.unique(np.asarray(labels.dataobj))) <= {0, 1, 2, 3, 4}


def test_meshes_come_in_any_format_and_space(service: Service, done: Json, ear: Ear) -> None:
    address = f"/v1/jobs/{done['id']}/meshes/labyrinth"
    vertices = {}
    for space in ("lps", "ras", "voxel"):
        response = service.http.get(f"{address}.stl", params={"space": space})
        assert response.headers["content-type"] == "model/stl"
        vertices[space] = trimesh.load(io.BytesIO(response.content), file_type="stl").bounds
    affine = load_image(ear.image).affine
    corners = np.array(np.meshgrid(*vertices["ras"].T)).reshape(3, -1).T
    lps = corners * [-1, -1, 1]
    np.testing.assert_allclose([lps.min(0), lps.max(0)], vertices["lps"], atol=1e-4)
    voxels = np.linalg.solve(affine[:3, :3], (corners - affine[:3, 3]).T).T
    np.testing.assert_allclose([voxels.min(0), voxels.max(0)], vertices["voxel"], atol=1e-3)
    for form in ("vtk", "vtp", "ply", "obj", "glb", "mesh"):
        assert service.http.get(f"{address}.{form}").status_code == 200
    refused = service.http.get(f"{address}.mesh", params={"space": "lps"})
    assert (refused.status_code, as_json(refused)["type"]) == (422, "/problems/invalid-option")
    for wrong in ("meshes/labyrinth.xyz", "meshes/nose.vtk", "masks/nose.nii.gz", "meshes.npz", "../input.nii.gz"):
        assert service.http.get(f"/v1/jobs/{done['id']}/{wrong}").status_code == 404


def test_looking_again_costs_nothing_while_nothing_changes(service: Service, done: Json) -> None:
    address = done["links"]["self"]
    first = service.http.get(address)
    again = service.http.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.headers["etag"]) == (304, first.headers["etag"])
    assert "retry-after" not in first.headers


def test_two_jobs_at_once_both_end_with_their_own_results(service: Service, ear: Ear) -> None:
    with ThreadPoolExecutor(2) as pool:
        jobs = list(pool.map(lambda form: service.submit(ear, formats=form), ("vtk", "stl")))
    waiting = [service.http.get(job["links"]["self"]).json()["queue_position"] for job in jobs]
    assert any(waiting), "one has to wait"
    for job, form in zip(jobs, ("vtk", "stl"), strict=True):
        record = service.wait_until_finished(job["id"])
        assert record.state is JobState.SUCCEEDED
        assert f"meshes/modiolus.{form}" in record.files
        assert len([name for name in record.files if name.startswith("meshes/")]) == 4


def test_the_list_gives_every_job_once_latest_first(service: Service, done: Json) -> None:
    seen, address = [], "/v1/jobs?limit=1"
    while address:
        page = as_json(service.http.get(address))
        seen += [job["id"] for job in page["jobs"]]
        address = page["next"]
    assert done["id"] in seen
    assert len(seen) == len(set(seen))
    created = [record.created_at for record in map(service.store.get, seen) if record is not None]
    assert created == sorted(created, reverse=True)
    assert service.http.get("/v1/jobs?limit=0").status_code == 422


def test_a_finished_job_is_erased_with_all_its_files(service: Service, ear: Ear) -> None:
    job = service.submit(ear)
    address = job["links"]["self"]
    service.wait_until_finished(job["id"])
    assert service.http.delete(address).status_code == 204
    assert job["id"] not in service.stored_ids()
    for response in (
        service.http.get(address),
        service.http.delete(address),
        service.http.get(address + "/report.json"),
    ):
        assert (response.status_code, as_json(response)["type"]) == (404, "/problems/no-such-job")


def test_waiting_and_running_jobs_are_canceled(service: Service, ear: Ear) -> None:
    running, waiting = service.submit(ear), service.submit(ear)
    early = service.http.get(waiting["links"]["self"] + "/report.json")
    assert (early.status_code, as_json(early)["type"]) == (409, "/problems/result-not-ready")
    for job in (waiting, running):
        response = service.http.delete(job["links"]["self"])
        assert response.status_code == 202, response.text
        record = service.wait_until_finished(job["id"])
        assert record.state is JobState.CANCELED
        assert record.landmarks is None
    assert as_json(service.http.get(running["links"]["self"]))["state"] == "canceled"
    for job in (waiting, running):
        # The worker confirms first and erases the files right after.
        service.wait_for(job["id"], lambda record: not (service.data_dir / "jobs" / record.id).exists())
        assert service.http.delete(job["links"]["self"]).status_code == 204


def test_the_service_says_what_it_is_and_has(service: Service) -> None:
    links = as_json(service.http.get("/"))["links"]
    assert service.http.get(links["livez"]).status_code == 200
    ready = service.http.get(links["readyz"])
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    models = as_json(service.http.get(links["models"]))["models"]
    assert [(model["name"], model["default"]) for model in models] == [(BUNDLE, True)]
    assert [structure["id"] for structure in models[0]["structures"]] == list(STRUCTURE_IDS)


def test_requests_keep_their_names(service: Service) -> None:
    assert service.http.get("/livez", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    forged = service.http.get("/v1/none", headers={"X-Request-Id": "a b" * 50})
    assert as_json(forged)["request_id"] == forged.headers["x-request-id"] != "a b" * 50
