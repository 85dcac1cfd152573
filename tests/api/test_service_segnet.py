"""Jobs of a segmentation network on the real stack: results without a field, and a structure that is not there."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from segnet_fixtures import write_threshold_bundle
from service_fixtures import BUNDLE, Ear, Json, Service, as_json, small_frame, write_small_bundle

from model.structures import STRUCTURE_IDS
from worker.jobs import JobState

SEGNET = "thresholds"
MISSING = "scala_vestibuli"
WINDOW_HU = (-1000.0, 1000.0)
THRESHOLDS = (-0.2, -0.1, None, 0.1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with both kinds of model."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    write_small_bundle(checkpoints)
    write_threshold_bundle(checkpoints, SEGNET, small_frame(), THRESHOLDS, window_hu=WINDOW_HU)
    with Service(tmp_path_factory.mktemp("data"), checkpoints) as service:
        yield service


@pytest.fixture(scope="module")
def done(service: Service, ear: Ear) -> Json:
    job = service.submit(ear, bundle=SEGNET, formats="vtk")
    record = service.wait_until_finished(job["id"])
    assert record.state is JobState.SUCCEEDED, record.failure
    return as_json(service.http.get(f"/v1/jobs/{job['id']}"))


def test_links_lead_to_what_there_is(service: Service, done: Json) -> None:
    links = done["links"]["results"]
    found = [name for name in STRUCTURE_IDS if name != MISSING]
    expected = {f"meshes/{name}.vtk" for name in found} | {
        f"masks/{name}.nii.gz" for name in (*STRUCTURE_IDS, "labels")
    }
    expected |= {"masks/segmentation.seg.nrrd", "report.json", "manifest.json", "preview.png", "archive.zip"}
    assert set(links) == expected
    for address in links.values():
        assert service.http.get(address).status_code == 200
    with zipfile.ZipFile(io.BytesIO(service.http.get(links["archive.zip"]).content)) as archive:
        assert set(archive.namelist()) == expected - {"archive.zip"}
    assert any("Scala vestibuli was not found" in text for text in done["warnings"])


def test_what_there_is_not_is_a_clear_problem(service: Service, done: Json) -> None:
    address = done["links"]["self"]
    field = service.http.get(f"{address}/displacement.nii.gz")
    assert (field.status_code, as_json(field)["type"]) == (404, "/problems/no-such-result")
    assert "no displacement field" in as_json(field)["detail"]
    for form in ("vtk", "ply"):
        surface = service.http.get(f"{address}/meshes/{MISSING}.{form}")
        assert (surface.status_code, as_json(surface)["type"]) == (404, "/problems/no-such-result")
        assert "was not found in the image" in as_json(surface)["detail"]
    assert service.http.get(f"{address}/meshes/labyrinth.ply", params={"space": "ras"}).status_code == 200


def test_masks_are_where_the_image_is_dark(service: Service, done: Json, ear: Ear, tmp_path: Path) -> None:
    image: Any = nibabel.load(ear.image)
    hounsfield = np.asarray(image.dataobj).astype(float)
    masks = {}
    for name in STRUCTURE_IDS:
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(service.http.get(done["links"]["results"][f"masks/{name}.nii.gz"]).content)
        stored: Any = nibabel.load(path)
        np.testing.assert_allclose(stored.affine, image.affine, atol=1e-5)
        masks[name] = np.asarray(stored.dataobj) > 0
        assert masks[name].shape == image.shape
    assert not masks[MISSING].any()
    assert masks["labyrinth"].sum() > 1000
    assert np.mean(hounsfield[masks["labyrinth"]]) < 0 < np.mean(hounsfield[~masks["labyrinth"]])
    assert np.mean(masks["labyrinth"][masks["modiolus"]]) > 0.95


def test_both_kinds_of_model_are_on_offer_and_serve_in_turn(service: Service, ear: Ear) -> None:
    models = as_json(service.http.get("/v1/models"))["models"]
    assert {model["name"] for model in models} == {BUNDLE, SEGNET}
    assert all([part["id"] for part in model["structures"]] == list(STRUCTURE_IDS) for model in models)
    record = service.wait_until_finished(service.submit(ear)["id"])
    assert record.state is JobState.SUCCEEDED
    assert "displacement.nii.gz" in record.files
