"""Scores of masks and surfaces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name everybody uses
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentations import save_nifti
from surfaces import rotation, sphere

from model.errors import ImageError, InputError
from model.evaluation.distances import point_to_point_mm, sample_surface, surface_distance
from model.evaluation.files import compare_files
from model.evaluation.overlap import dice, volume_mm3
from model.meshes.formats import write_mesh
from model.meshes.mesh import SurfaceMesh


@given(seed=st.integers(0, 1000), density=st.floats(0.05, 0.95))
@settings(max_examples=20, deadline=None)
def test_dice_is_that_of_simpleitk(seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    first, second = random.random((5, 6, 7)) < density, random.random((5, 6, 7)) < 0.5
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (first, second)))
    assert dice(first, second) == pytest.approx(overlap.GetDiceCoefficient())
    assert dice(first, second) == dice(second, first)
    assert dice(first, first) == 1.0


def test_dice_of_empty_and_of_unlike_masks() -> None:
    empty = np.zeros((3, 3, 3), dtype=bool)
    assert dice(empty, empty) == 1.0
    assert dice(empty, ~empty) == 0.0
    with pytest.raises(ValueError, match="one shape"):
        dice(empty, empty[:2])


def test_volume_counts_the_voxels_of_a_mirrored_grid() -> None:
    mask = np.zeros((4, 4, 4), dtype=np.uint8)
    mask[1:3, 1:3, 1:3] = 4
    assert volume_mm3(mask, np.diag([-0.5, 0.5, 0.2, 1.0])) == pytest.approx(8 * 0.05)


def test_point_to_point_error_of_a_shift_is_its_length() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    assert np.allclose(point_to_point_mm(points, points + np.array([0.3, 0.0, 0.4])), 0.5)
    with pytest.raises(ValueError, match="corresponding"):
        point_to_point_mm(points, points[:-1])


def test_concentric_spheres_are_apart_by_the_difference_of_their_radii() -> None:
    distance = surface_distance(sphere(5.0, space="ras", level=5), sphere(5.3, space="ras", level=3))
    assert distance.mean_mm == pytest.approx(0.3, abs=0.04)
    assert distance.hausdorff95_mm == pytest.approx(0.3, abs=0.05)


@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_one_shape_with_two_triangulations_is_at_no_distance(seed: int) -> None:
    mesh = sphere(4.0, space="ras", level=6)
    turned = SurfaceMesh(mesh.vertices @ rotation(seed).T, mesh.triangles, "ras")
    distance = surface_distance(mesh, turned)
    assert distance.mean_mm < 0.005
    assert distance.max_mm < 0.06


def test_a_spike_moves_the_maximum_and_hardly_the_mean() -> None:
    mesh = sphere(4.0, space="ras", level=4)
    vertices = mesh.vertices.copy()
    vertices[0] *= 1.5
    distance = surface_distance(mesh, mesh.with_vertices(vertices))
    assert distance.max_mm == pytest.approx(2.0, abs=0.4)
    assert distance.mean_mm < 0.02


def test_distances_need_one_space_in_millimetres() -> None:
    with pytest.raises(ValueError, match="one space"):
        surface_distance(sphere(1.0, space="ras"), sphere(1.0, space="lps"))
    with pytest.raises(ValueError, match="in mm"):
        surface_distance(sphere(1.0), sphere(1.0))


def test_samples_are_spread_by_area() -> None:
    samples = sample_surface(sphere(5.0, (1, 2, 3), space="ras", level=4))
    offset = samples.points - [1, 2, 3]
    assert np.abs(np.linalg.norm(offset, axis=1) - 5).max() < 0.02
    for axis in range(3):  # Archimedes: equal slices of a sphere have equal areas
        counts, _ = np.histogram(offset[:, axis], bins=5, range=(-5, 5))
        assert np.abs(counts / counts.mean() - 1).max() < 0.05


def write_labels(path: Path, labels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], shift: float = 0.0) -> Path:
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[0, 3] = shift
    save_nifti(path, labels, affine)
    return path


def test_label_maps_are_compared_by_structure(tmp_path: Path) -> None:
    labels = np.zeros((6, 6, 6), dtype=np.uint8)
    labels[1:5, 1:5, 1:5] = 4
    labels[2:4, 2:4, 2:4] = 1
    other = labels.copy()
    other[2, 2, 2] = 4
    scores = compare_files(write_labels(tmp_path / "a.nii.gz", other), write_labels(tmp_path / "b.nii.gz", labels))
    assert list(scores) == ["modiolus", "labyrinth"]
    assert scores["modiolus"]["dice"] == pytest.approx(14 / 15)
    assert scores["modiolus"]["truth_volume_mm3"] == pytest.approx(1.0)
    with pytest.raises(ImageError, match="different grids"):
        compare_files(write_labels(tmp_path / "c.nii.gz", other, 0.1), tmp_path / "b.nii.gz")


def test_mesh_files_are_compared_whatever_their_space(tmp_path: Path) -> None:
    mesh = sphere(4.0, (10, 20, 30), space="ras")
    write_mesh(mesh, tmp_path / "a.vtk")
    write_mesh(mesh.transformed(np.diag([-1.0, -1, 1, 1]), "lps"), tmp_path / "b.ply")
    scores = compare_files(tmp_path / "a.vtk", tmp_path / "b.ply")["surface"]
    assert scores["point_to_point_mm"] < 1e-5
    assert scores["mean_mm"] < 1e-5
    with pytest.raises(InputError, match="cannot be compared"):
        compare_files(tmp_path / "a.vtk", write_labels(tmp_path / "a.nii.gz", np.ones((3, 3, 3), dtype=np.uint8)))
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(ImageError, match="cannot be read"):
        compare_files(tmp_path / "text.nii.gz", tmp_path / "a.nii.gz")
    assert json.dumps(scores)
