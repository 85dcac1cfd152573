"""Importing a published model, then posting a crop over HTTP, gives the published vertices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from release_fixtures import TinyRelease, write_release
from service_fixtures import Ear, Json, Service, as_json, make_ear
from support import shared_path

from model.meshes.published import decode_published
from model.release.importer import import_release
from model.structures import STRUCTURE_IDS
from worker.jobs import JobState


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def release(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    """A tiny release, imported."""
    release = write_release(tmp_path_factory.mktemp("release"))
    for method in ("chamfer", "dice"):
        import_release(release.checkpoint(method), release.atlas, method=method, name=method, to=checkpoints)
    return release


@pytest.fixture(scope="module")
def service(checkpoints: Path, release: TinyRelease, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with imported models only."""
    assert release.atlas.is_dir()
    with Service(tmp_path_factory.mktemp("data"), checkpoints, COCHLEAR_BUNDLE="chamfer") as service:
        yield service


def posted(service: Service, image: Path, **fields: str) -> Json:
    """Post a prepared crop and give the finished job."""
    response = service.http.post("/v1/jobs", files={"image": image.read_bytes()}, data={"formats": "mesh", **fields})
    assert response.status_code == 202, response.text
    record = service.wait_until_finished(as_json(response)["id"])
    assert record.state is JobState.SUCCEEDED, record.failure
    return as_json(service.http.get(f"/v1/jobs/{record.id}"))


def vertices_of(service: Service, job: Json) -> npt.NDArray[np.float64]:
    """Give the vertices of all structures, in voxels of the crop."""
    parts = []
    for name in STRUCTURE_IDS:
        answer = service.http.get(f"{job['links']['self']}/meshes/{name}.mesh", params={"space": "voxel"})
        assert answer.status_code == 200, answer.text
        parts.append(decode_published(answer.content).vertices)
    return np.concatenate(parts)


def test_a_posted_crop_gives_the_expected_vertices(service: Service, release: TinyRelease) -> None:
    job = posted(service, release.ear)
    assert job["bundle"] == "chamfer"
    np.testing.assert_allclose(vertices_of(service, job), release.expected, atol=1e-3)


@pytest.mark.parametrize("method", ["chamfer", "p2p"])
def test_the_published_files_give_the_expected_vertices(service: Service, checkpoints: Path, method: str) -> None:
    folder = shared_path("release")
    experiment = {"chamfer": "Exp_task16-kcl-chamfer-reg4p0-post_1", "p2p": "Exp_task06-kcl-p2p-reg4p0-post_1"}[method]
    # A running service offers what is imported beside it.
    import_release(
        folder / "checkpoints" / experiment,
        folder / "data" / "atlas",
        method=method,
        name=f"published-{method}",
        to=checkpoints,
    )
    job = posted(service, folder / "ear.nii.gz", bundle=f"published-{method}", side="left")
    with np.load(folder / "expected.npz") as expected:
        np.testing.assert_allclose(vertices_of(service, job), expected[f"{method}_vertices"], atol=1e-3)


def test_raw_ct_with_landmarks_is_served(service: Service, tmp_path: Path) -> None:
    ear: Ear = make_ear(tmp_path)
    record = service.wait_until_finished(service.submit(ear)["id"])
    assert record.state is JobState.SUCCEEDED, record.failure


def test_a_model_of_activation_maps_is_refused_at_once(service: Service, release: TinyRelease) -> None:
    before = service.stored_ids()
    answer = service.http.post("/v1/jobs", files={"image": release.ear.read_bytes()}, data={"bundle": "dice"})
    assert answer.status_code == 422, answer.text
    assert "activation maps only" in as_json(answer)["detail"]
    assert service.stored_ids() == before
