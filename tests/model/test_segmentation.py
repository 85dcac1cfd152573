"""The whole method on ears whose truth is known, whichever way their images are stored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import torch
from ear_fixtures import mean_error_mm, read_truth, request_of
from segmentations import field_of, open_nifti
from support import shared_path
from volume_fixtures import orientations

from model.bundle import Bundle, load_bundle
from model.errors import BundleError, DeviceError
from model.evaluation.overlap import dice
from model.geometry.landmarks import Side
from model.geometry.spaces import apply_affine
from model.masks.voxelize import voxelize_structures
from model.meshes.topology import count_open_edges
from model.outputs.segmentation import Segmentation
from model.outputs.write import write_results
from model.registration.warp import warp_vertices
from model.segmentation import STAGES, Segmenter
from model.structures import LABYRINTH, STRUCTURE_IDS

CHOSEN = (0, 13, 30, 47)
"""Four of the 48 ways to store an image: as it is, two with other axis orders, and all turned round."""


@pytest.fixture(scope="module")
def segmenter(shipped_bundle: Bundle) -> Segmenter:
    """The shipped model as it is."""
    return Segmenter(shipped_bundle, "cpu")


@pytest.fixture(scope="module")
def quick(quick_bundle_path: Path) -> Segmenter:
    """The shipped model with a short refinement."""
    return Segmenter(load_bundle(quick_bundle_path), "cpu")


@pytest.fixture(scope="module")
def plain_result(quick: Segmenter, synthetic_ears: dict[Side, Path]) -> Segmentation:
    """The right ear, stored as it was written."""
    return quick.run(request_of(synthetic_ears["right"], quick.bundle))


def save(path: Path, data: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]) -> None:
    """Write an image whose header says where it lies."""
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.to_filename(path)


def largest_difference_mm(one: Segmentation, other: Segmentation) -> float:
    """Give the largest distance between corresponding vertices of two results."""
    return max(
        float(np.linalg.norm(one.meshes_ras[name].vertices - other.meshes_ras[name].vertices, axis=1).max())
        for name in STRUCTURE_IDS
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_result_is_closer_to_the_truth_than_rigid_alignment(
    segmenter: Segmenter, synthetic_ears: dict[Side, Path], side: Side
) -> None:
    folder = synthetic_ears[side]
    request = request_of(folder, segmenter.bundle)
    told: list[tuple[str, float]] = []
    result = segmenter.run(request, lambda stage, done: told.append((stage, done)))
    rigid = segmenter.run(request, deform=False)
    truth = read_truth(folder)
    for name in STRUCTURE_IDS:
        mesh = result.meshes_ras[name]
        found, before = (mean_error_mm(run.meshes_ras[name], truth[name]) for run in (result, rigid))
        assert found < before, name
        assert (mesh.space, count_open_edges(mesh.triangles)) == ("ras", 0)
        assert mesh.signed_volume > 0
        assert set(mesh.point_data) == set(segmenter.bundle.atlas_meshes_ijk[name].point_data)
    assert result.alignment.mirrored == (side == "right")
    assert np.abs(field_of(rigid)).max() == 0
    stages = [stage for stage, done in told if done == 1.0]
    assert stages == [stage for stage in STAGES if stage != "refine" or segmenter.refinement is not None]
    assert set(result.report["timings_s"]) == set(stages)
    assert result.report["model"]["digest"] == segmenter.bundle.digest


def test_the_field_carries_the_atlas_onto_the_result(plain_result: Segmentation, quick: Segmenter) -> None:
    """Read back with the surfaces in the canonical frame: atlas vertex + field = vertex of the result."""
    assert field_of(plain_result).shape == (3, *quick.bundle.frame.grid)
    assert field_of(plain_result).dtype == np.float32
    for name, mesh in quick.bundle.atlas_meshes_ijk.items():
        canonical = apply_affine(plain_result.alignment.ras_to_canonical, plain_result.meshes_ras[name].vertices)
        carried = warp_vertices(torch.from_numpy(mesh.vertices), torch.from_numpy(field_of(plain_result)).double())
        np.testing.assert_allclose(canonical, carried.numpy(), atol=1e-3)


def test_axis_orders_and_flips_of_an_image_do_not_matter(
    quick: Segmenter, synthetic_ears: dict[Side, Path], tmp_path: Path
) -> None:
    folder = synthetic_ears["right"]
    stored = open_nifti(folder / "ct.nii.gz")
    # Two axes are cut, so that the three sizes differ and swapped ones show.
    ways = list(orientations(np.asarray(stored.dataobj)[:, :120, :114], np.array(stored.affine)))
    results, masks = [], []
    for number in CHOSEN:
        image = tmp_path / f"{number}.nii.gz"
        save(image, *ways[number])
        results.append(quick.run(request_of(folder, quick.bundle, image)))
        volume = results[-1].volume
        mask = voxelize_structures(results[-1].meshes_ras, volume.affine, volume.shape)[LABYRINTH.id]
        assert mask.shape == ways[number][0].shape
        upright: Any = nibabel.as_closest_canonical(nibabel.Nifti1Image(mask.astype(np.uint8), ways[number][1]))
        masks.append(np.asarray(upright.dataobj) > 0)
    assert max(largest_difference_mm(results[0], other) for other in results[1:]) < 0.01
    for other in masks[1:]:
        assert np.count_nonzero(masks[0] ^ other) < 0.01 * np.count_nonzero(masks[0])
    write_results(results[2], tmp_path / "out", mesh_formats=("vtk",))
    data, affine = ways[CHOSEN[2]]
    label = open_nifti(tmp_path / "out" / "masks" / "labyrinth.nii.gz")
    assert label.shape == data.shape
    np.testing.assert_allclose(label.affine, affine, atol=1e-5)
    volume = results[2].volume
    again = voxelize_structures(results[2].meshes_ras, volume.affine, volume.shape)[LABYRINTH.id]
    assert np.array_equal(np.asarray(label.dataobj) > 0, again)


def test_the_way_values_are_stored_does_not_matter(
    quick: Segmenter, synthetic_ears: dict[Side, Path], plain_result: Segmentation, tmp_path: Path
) -> None:
    folder = synthetic_ears["right"]
    stored = open_nifti(folder / "ct.nii.gz")
    data, affine = np.asarray(stored.dataobj).astype(np.float64), np.array(stored.affine)
    save(tmp_path / "float.nii", data.astype(np.float32), affine)
    scaled = nibabel.Nifti1Image(np.round((data - 100.0) / 2.0).astype(np.int16), affine)
    scaled.header.set_slope_inter(2.0, 100.0)
    scaled.to_filename(tmp_path / "scaled.nii.gz")
    save(tmp_path / "big.nii.gz", data.astype(">i2"), affine)
    for name, tolerance in (("float.nii", 0.01), ("big.nii.gz", 0.01), ("scaled.nii.gz", 0.1)):
        result = quick.run(request_of(folder, quick.bundle, tmp_path / name))
        assert largest_difference_mm(result, plain_result) < tolerance, name


def test_anisotropic_images_lie_in_the_same_place(
    quick: Segmenter, synthetic_ears: dict[Side, Path], plain_result: Segmentation, tmp_path: Path
) -> None:
    """Pairs of slices averaged: voxels of 0.2 x 0.2 x 0.4 mm whose centres lie between the old ones."""
    folder = synthetic_ears["right"]
    stored = open_nifti(folder / "ct.nii.gz")
    data = np.asarray(stored.dataobj).astype(np.float32)
    halved = data.reshape(*data.shape[:2], -1, 2).mean(axis=3)
    step = np.diag([1.0, 1.0, 2.0, 1.0])
    step[2, 3] = 0.5
    save(tmp_path / "thick.nii.gz", halved, np.array(stored.affine) @ step)
    result = quick.run(request_of(folder, quick.bundle, tmp_path / "thick.nii.gz"))
    for name in STRUCTURE_IDS:
        offset = result.meshes_ras[name].vertices.mean(axis=0) - plain_result.meshes_ras[name].vertices.mean(axis=0)
        assert np.abs(offset).max() < 0.06, name


def test_a_real_validation_ear_is_better_than_rigid(segmenter: Segmenter) -> None:
    folder = shared_path("ears/T06")
    request = request_of(folder, segmenter.bundle)
    label = np.asarray(open_nifti(folder / "labyrinth.nii.gz").dataobj) > 0
    scores = {}
    for deform in (False, True):
        meshes = {LABYRINTH.id: segmenter.run(request, deform=deform).meshes_ras[LABYRINTH.id]}
        masks = voxelize_structures(meshes, request.volume.affine, request.volume.shape)
        scores[deform] = dice(masks[LABYRINTH.id], label)
    assert scores[True] > scores[False] + 0.08


def test_a_device_that_is_not_there_is_refused(shipped_bundle: Bundle) -> None:
    with pytest.raises(DeviceError):
        Segmenter(shipped_bundle, f"cuda:{torch.cuda.device_count()}")


def test_unknown_refinement_settings_are_refused(quick_bundle_path: Path, tmp_path: Path) -> None:
    bundle = load_bundle(quick_bundle_path)
    wrong = bundle.manifest.model_copy(update={"refinement": {"haste": 3}})
    with pytest.raises(BundleError, match="refinement"):
        Segmenter(replace(bundle, manifest=wrong), "cpu")
    without = Segmenter(replace(bundle, manifest=bundle.manifest.model_copy(update={"refinement": None})), "cpu")
    assert without.refinement is None
    kept = json.loads((quick_bundle_path / "bundle.json").read_text())["refinement"]
    assert Segmenter(bundle, "cpu").refinement is not None
    assert kept["steps"] == 4
