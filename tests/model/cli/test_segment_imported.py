"""`cochlear segment` with imported models, by the files that it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import torch
from cli_runs import Cochlear
from release_fixtures import EXPERIMENTS, TinyRelease, save_nifti, write_atlas_image, write_release
from service_fixtures import make_ear
from support import shared_path

from model.masks.coverage import coverage
from model.masks.isosurface import isosurface
from model.meshes.formats import read_mesh
from model.meshes.mesh import SurfaceMesh
from model.meshes.topology import count_open_edges
from model.structures import STRUCTURE_IDS, STRUCTURES

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Case:
    """A release with a crop, and what the published program gives for it.

    Attributes:
        release: its folders.
        ear: the prepared crop.
        vertices: (N, 3) by method, crop voxels, all structures in order.
        logits: (4, I, J, K) of the segmentation network.
    """

    release: TinyRelease
    ear: Path
    vertices: dict[str, FloatArray]
    logits: FloatArray


def tiny_case(folder: Path) -> Case:
    """Make a tiny release."""
    release = write_release(folder / "release")
    return Case(release, release.ear, dict.fromkeys(("chamfer", "p2p", "dice"), release.expected), release.logits)


def shared_case(folder: Path) -> Case:
    """Take the release beside the checkout; its atlas is copied so that files can be taken out."""
    shared = shared_path("release")
    shutil.copytree(shared / "data" / "atlas", folder / "data" / "atlas", copy_function=shutil.copyfile)
    (folder / "data" / "atlas").chmod(0o755)
    (folder / "checkpoints").symlink_to(shared / "checkpoints")
    with np.load(shared / "expected.npz") as found:
        vertices = {method: found[f"{method}_vertices"] for method in ("chamfer", "p2p")}
        return Case(TinyRelease(folder), shared / "ear.nii.gz", vertices, found["segnet_logits"])


@pytest.fixture(scope="module", params=[tiny_case, shared_case], ids=["tiny", "shared"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    make: Callable[[Path], Case] = request.param
    return make(tmp_path_factory.mktemp("case"))


def import_and_segment(
    cochlear: Cochlear, case: Case, method: str, ear: Path, out: Path, *options: str | Path
) -> dict[str, SurfaceMesh]:
    """Import a method, segment an ear, and give the `.mesh` files of the result."""
    to = out.parent / "bundles"
    imported = cochlear(
        *("bundle", "import-release", "--checkpoint", case.release.checkpoint(method), "--atlas", case.release.atlas),
        *("--method", method, "--name", method, "--to", to),
    )
    assert imported.code == 0, imported.err
    ran = cochlear("segment", ear, "--out", out, "--bundle", to / method, "--formats", "mesh,vtk,stl", *options)
    assert ran.code == 0, ran.err
    return {name: read_mesh(out / "meshes" / f"{name}.mesh") for name in STRUCTURE_IDS}


def write_activation(case: Case, method: str, image: Path, activation: Path) -> None:
    """Write the first convolution of a method for (0, atlas image), as its publisher would have."""
    stored = np.asarray(open_nifti(image).dataobj, dtype=np.float32)
    scaled = 2 * (stored - stored.min()) / (stored.max() - stored.min()) - 1
    state = torch.load(case.release.checkpoint(method), weights_only=True)["model"]
    both = torch.from_numpy(np.stack([np.zeros_like(scaled), scaled]))[None]
    values = torch.nn.functional.conv3d(both, state["dp1_conv1.weight"], state["dp1_conv1.bias"], padding=1)
    save_nifti(activation, values[0].numpy())


def open_nifti(path: Path) -> Any:  # noqa: ANN401
    """Open an image."""
    return nibabel.load(path)


@pytest.mark.parametrize("way", ["activation", "image"])
@pytest.mark.parametrize("method", ["chamfer", "p2p"])
def test_vertices_are_those_of_the_published_program(
    cochlear: Cochlear, case: Case, method: str, way: str, tmp_path: Path
) -> None:
    atlas = case.release.atlas
    activation, image = atlas / f"atlas_activation_map_{method}.nii.gz", atlas / "atlas.nii.gz"
    if not image.is_file():
        write_atlas_image(case.release)
    if way == "activation" and not activation.is_file():
        write_activation(case, method, image, activation)
    hidden = activation.rename(atlas / "hidden") if way == "image" and activation.is_file() else None
    try:
        meshes = import_and_segment(cochlear, case, method, case.ear, tmp_path / "out")
    finally:
        if hidden is not None:
            hidden.rename(activation)
    found = np.concatenate([mesh.vertices for mesh in meshes.values()])
    np.testing.assert_allclose(found, case.vertices[method], atol=1e-3)
    # The crop's affine is diag(-0.2, -0.2, 0.2): in LPS millimetres all axes point as in the array.
    for name, part in meshes.items():
        surface = read_mesh(tmp_path / "out" / "meshes" / f"{name}.vtk")
        np.testing.assert_allclose(surface.vertices, 0.2 * part.vertices, atol=2e-4)
        mask = np.asarray(open_nifti(tmp_path / "out" / "masks" / f"{name}.nii.gz").dataobj) > 0
        covered = np.zeros(mask.shape)
        fractions, box = coverage(part, (mask.shape[0], mask.shape[1], mask.shape[2]))
        covered[box] = fractions
        decided = np.abs(covered - 0.5) > 0.06  # rays run along other axes than in the program
        assert np.count_nonzero(~decided & mask) < 0.1 * mask.sum()
        np.testing.assert_array_equal(mask[decided], covered[decided] > 0.5)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["model"]["name"] == method


def test_a_crop_stored_in_another_order_gives_the_same_anatomy(cochlear: Cochlear, tmp_path: Path) -> None:
    case = tiny_case(tmp_path)
    # Array axes P, S, R of the same crop, somewhere else in the patient.
    turned = np.ascontiguousarray(case.release.patient.transpose(1, 2, 0)[:, :, ::-1])
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2] = -0.2, 0.2, 0.2
    affine[:, 3] = (11.0, -22.0, 33.0, 1.0)
    save_nifti(tmp_path / "turned.nii.gz", turned, affine)
    meshes = import_and_segment(cochlear, case, "chamfer", tmp_path / "turned.nii.gz", tmp_path / "out")
    found = np.concatenate([mesh.vertices for mesh in meshes.values()])
    i, j, k = case.vertices["chamfer"].T
    expected = np.stack([j, k, case.release.patient.shape[0] - 1 - i], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    surface = read_mesh(tmp_path / "out" / "meshes" / "labyrinth.vtk")
    lps = (expected @ affine[:3, :3].T + affine[:3, 3]) * (-1, -1, 1)
    np.testing.assert_allclose(surface.vertices, lps[-len(surface.vertices) :], atol=1e-3)


def test_segnet_gives_its_masks_and_their_surfaces(cochlear: Cochlear, case: Case, tmp_path: Path) -> None:
    bundle, out = tmp_path / "bundles", tmp_path / "out"
    imported = cochlear(
        *("bundle", "import-release", "--checkpoint", case.release.checkpoint("segnet"), "--method", "segnet"),
        *("--atlas", case.release.atlas, "--name", "segnet", "--to", bundle),
    )
    assert imported.code == 0, imported.err
    ran = cochlear("segment", case.ear, "--out", out, "--bundle", bundle / "segnet", "--formats", "mesh")
    assert ran.code == 0, ran.err
    probability = 1 / (1 + np.exp(-case.logits.astype(np.float64)))
    labels = np.asarray(open_nifti(out / "masks" / "labels.nii.gz").dataobj)
    for structure, channel, logits in zip(STRUCTURES, probability, case.logits, strict=True):
        mask = np.asarray(open_nifti(out / "masks" / f"{structure.id}.nii.gz").dataobj) > 0
        # No logit is nearer to zero than the arithmetic is exact, so none may fall on the other side.
        assert np.abs(logits).min() > 1e-7
        np.testing.assert_array_equal(mask, channel > 0.5)
        path = out / "meshes" / f"{structure.id}.mesh"
        assert path.is_file() == mask.any()
        if mask.any():
            mesh, expected = read_mesh(path), isosurface(channel.astype(np.float32))
            assert expected is not None
            assert count_open_edges(mesh.triangles) == 0
            assert mesh.signed_volume == pytest.approx(expected.signed_volume, rel=1e-4)
            inside = np.pad(mask, 1)
            near = np.round(mesh.vertices).astype(int) + 1
            steps = [inside[tuple((near + step).T)] for step in np.array(list(np.ndindex(3, 3, 3))) - 1]
            assert np.any(steps, axis=0).all()
            assert not np.all(steps, axis=0).any()
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 4}


@pytest.mark.parametrize("method", ["chamfer", "segnet"])
def test_raw_ct_with_landmarks_runs(cochlear: Cochlear, method: str, tmp_path: Path) -> None:
    case, ear = tiny_case(tmp_path), make_ear(tmp_path)
    to, out = tmp_path / "bundles", tmp_path / "out"
    command = ("bundle", "import-release", "--checkpoint", case.release.checkpoint(method), "--method", method)
    assert cochlear(*command, "--atlas", case.release.atlas, "--name", method, "--to", to).code == 0
    arguments: list[str | Path] = ["--bundle", to / method, "--out", out, "--formats", "vtk"]
    assert "landmarks" in cochlear.refuses("segment", ear.image, *arguments)
    ran = cochlear("segment", ear.image, "--landmarks", ear.landmarks, *arguments)
    assert ran.code == 0, ran.err
    report = json.loads((out / "report.json").read_text())
    assert (report["alignment"]["method"], report["alignment"]["residual_mm"] < 0.1) == ("landmarks", True)
    mask = open_nifti(out / "masks" / "labels.nii.gz")
    image = open_nifti(ear.image)
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    # The middle of the crop lies where the landmarks put it: in the middle of the canonical one.
    corner = np.array([31.0, -42.0, 17.0])
    middle = corner + np.diag([-1.0, -1.0, 1.0]) @ np.full(3, 63.5 * 0.2)
    voxels = np.argwhere(np.asarray(mask.dataobj) > 0)
    points = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
    half = np.array(case.release.patient.shape) * 0.2 / 2 + 2.0
    assert len(points)
    assert (np.abs(points - middle) < half).all()


def test_a_model_of_activation_maps_takes_no_image(cochlear: Cochlear, tmp_path: Path) -> None:
    case, to = tiny_case(tmp_path), tmp_path / "bundles"
    command = ("bundle", "import-release", "--checkpoint", case.release.checkpoint("dice"), "--method", "dice")
    assert cochlear(*command, "--atlas", case.release.atlas, "--name", "dice", "--to", to).code == 0
    line = cochlear.refuses("segment", case.ear, "--bundle", to / "dice", "--out", tmp_path / "out")
    assert "activation maps only" in line


def test_experiments_have_the_published_names() -> None:
    folder = shared_path("release/checkpoints")
    assert {path.name for path in folder.iterdir()} <= set(EXPERIMENTS.values())
