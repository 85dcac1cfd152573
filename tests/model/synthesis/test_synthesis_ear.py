"""Whole ears: from a seed, the same at every spacing, and back from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from model.geometry.alignment import align_by_landmarks
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks, Side
from model.geometry.spaces import apply_affine, ras_to_lps
from model.meshes.formats import read_mesh
from model.meshes.mesh import SurfaceMesh
from model.synthesis.ear import EarOptions, SyntheticEar, synthesize_ear
from model.synthesis.export import write_ear
from model.synthesis.grid import RenderGrid
from model.synthesis.template import TissueTemplate

COARSE = EarOptions(spacing_mm=0.4, implant_share=1.0, full_field_share=1.0)


@pytest.fixture(scope="module")
def fine_ear(toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate) -> SyntheticEar:
    options = EarOptions(implant_share=1.0, full_field_share=1.0, drained_share=0.0, with_ddf=False)
    return synthesize_ear(toy_atlas, 21, options, toy_template)


def test_equal_seeds_give_equal_ears(toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate) -> None:
    first, again = (synthesize_ear(toy_atlas, 5, COARSE, toy_template) for _ in range(2))
    np.testing.assert_array_equal(first.image_hu, again.image_hu)
    assert first.parameters == again.parameters
    other = synthesize_ear(toy_atlas, 6, COARSE, toy_template)
    assert np.abs(first.image_hu - other.image_hu).mean() > 50.0


def test_an_ear_is_complete(toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate) -> None:
    ear = synthesize_ear(toy_atlas, 5, COARSE, toy_template)
    assert ear.image_hu.shape == (64, 64, 64)
    assert ear.image_hu.dtype == np.float32
    assert ear.image_hu.min() >= -1024.0
    assert ear.image_hu.max() == 3071.0
    assert ear.ddf_ijk is not None
    np.testing.assert_array_equal(ear.ddf_ijk, ear.deformation.ddf(RenderGrid(2)))
    for name, mesh in toy_atlas.items():
        np.testing.assert_allclose(ear.vertices_ijk[name], ear.deformation.displace(mesh.vertices))
    assert ear.image_hu[ear.metal].mean() > 2500.0
    json.dumps(ear.parameters)


def test_anatomy_does_not_depend_on_spacing_or_implant(
    toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate, fine_ear: SyntheticEar
) -> None:
    options = EarOptions(spacing_mm=0.4, implant_share=0.0, full_field_share=1.0, drained_share=0.0, with_ddf=False)
    coarse = synthesize_ear(toy_atlas, 21, options, toy_template)
    assert coarse.ddf_ijk is None
    assert not coarse.metal.any()
    for name in toy_atlas:
        np.testing.assert_array_equal(coarse.vertices_ijk[name], fine_ear.vertices_ijk[name])
    averaged = fine_ear.image_hu.reshape(64, 2, 64, 2, 64, 2).mean(axis=(1, 3, 5))
    # Slices of the scan, which lie askew in the crop, differ by noise only where they hold no metal.
    axis = Rotation.from_rotvec(fine_ear.parameters["scanner"]["rotation"]).as_matrix()[2]
    heights = np.tensordot(axis, RenderGrid(2).points(), axes=1)
    metal_heights = np.unique(np.round(np.argwhere(fine_ear.metal) @ axis))
    free = np.abs(heights[..., None] - metal_heights).min(axis=-1) > 6
    assert free.mean() > 0.1
    assert np.corrcoef(averaged[free], coarse.image_hu[free])[0, 1] > 0.9


@pytest.mark.parametrize("side", ["left", "right"])
def test_files_lead_back_to_the_canonical_frame(
    side: Side, fine_ear: SyntheticEar, toy_atlas: dict[str, SurfaceMesh], toy_frame: CanonicalFrame, tmp_path: Path
) -> None:
    pose = write_ear(fine_ear, toy_atlas, toy_frame, tmp_path, side)
    landmarks = Landmarks.parse((tmp_path / "landmarks.json").read_text())
    assert landmarks.side == pose.side == side
    alignment = align_by_landmarks(landmarks, None, toy_frame)
    assert alignment.residual_mm is not None
    assert alignment.residual_mm < 1.2
    # The written pose maps the truth exactly, the landmarks up to their error and the size of the ear.
    truth = read_mesh(tmp_path / "truth" / "scala_tympani.vtk")
    vertices_ijk = fine_ear.vertices_ijk["scala_tympani"]
    np.testing.assert_allclose(truth.vertices, ras_to_lps(apply_affine(pose.canonical_to_ras, vertices_ijk)), atol=1e-3)
    aligned = apply_affine(alignment.ras_to_canonical, ras_to_lps(truth.vertices))
    atlas_points = toy_atlas["scala_tympani"].vertices
    assert np.sqrt(np.mean(np.sum((aligned - atlas_points) ** 2, axis=1))) * 0.2 < 2.0
    assert truth.signed_volume > 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_image_label_and_mesh_agree_in_patient_space(
    side: Side, fine_ear: SyntheticEar, toy_atlas: dict[str, SurfaceMesh], toy_frame: CanonicalFrame, tmp_path: Path
) -> None:
    pose = write_ear(fine_ear, toy_atlas, toy_frame, tmp_path, side)
    image: Any = nibabel.load(tmp_path / "ct.nii.gz")
    label: Any = nibabel.load(tmp_path / "labyrinth.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert np.linalg.det(image.affine[:3, :3]) > 0
    np.testing.assert_allclose(image.affine, label.affine)
    to_image = np.linalg.inv(image.affine) @ pose.canonical_to_ras
    voxels = np.array([[10, 20, 30], [90, 64, 40]])
    there = np.round(apply_affine(to_image, voxels)).astype(int)
    np.testing.assert_array_equal(
        np.asarray(image.dataobj)[tuple(there.T)], np.round(fine_ear.image_hu[tuple(voxels.T)])
    )
    mesh = read_mesh(tmp_path / "truth" / "labyrinth.vtk")
    inside_ijk = apply_affine(np.linalg.inv(label.affine), ras_to_lps(mesh.vertices))
    mask: npt.NDArray[np.bool_] = np.asarray(label.dataobj) > 0
    np.testing.assert_allclose(mask.sum() * 0.008, mesh.signed_volume, rtol=0.03)
    np.testing.assert_allclose(np.argwhere(mask).max(axis=0), inside_ijk.max(axis=0), atol=1.0)
    np.testing.assert_allclose(np.argwhere(mask).min(axis=0), inside_ijk.min(axis=0), atol=1.0)
    record = json.loads((tmp_path / "ear.json").read_text())
    contacts = np.round(apply_affine(np.linalg.inv(image.affine), record["contacts_ras"])).astype(int)
    assert np.asarray(image.dataobj)[tuple(contacts.T)].mean() > 2500


def test_coarse_ears_are_not_written(
    toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate, toy_frame: CanonicalFrame, tmp_path: Path
) -> None:
    ear = synthesize_ear(toy_atlas, 0, COARSE, toy_template)
    with pytest.raises(ValueError, match="canonical grid"):
        write_ear(ear, toy_atlas, toy_frame, tmp_path)
