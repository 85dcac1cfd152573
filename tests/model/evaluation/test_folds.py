"""Folds of displacement fields."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentations import segmentation
from surfaces import rotation

from model.evaluation.folds import DisplacementField, jacobian_determinant
from model.evaluation.result_folder import ResultFolder
from model.outputs.displacement import write_displacement
from model.outputs.jacobian import folded_fraction


def linear_field(matrix: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    points = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"))
    return np.asarray(np.einsum("cd,dijk->cijk", matrix - np.eye(3), points), dtype=np.float32)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_linear_map_has_its_own_determinant_everywhere(seed: int) -> None:
    matrix = np.eye(3) + np.random.default_rng(seed).normal(0, 0.5, (3, 3))
    determinant = jacobian_determinant(linear_field(matrix, (4, 5, 6)))
    assert determinant.shape == (3, 4, 5)
    assert np.allclose(determinant, np.linalg.det(matrix), atol=1e-4)


def test_the_share_is_that_of_the_quality_check() -> None:
    ddf = np.random.default_rng(0).normal(0, 0.6, (3, 9, 10, 11)).astype(np.float32)
    folds = DisplacementField(ddf, np.eye(4)).folds_around(np.array([[0.0, 0, 0], [8, 9, 10]]))
    assert folds is not None
    assert 0 < folds.share < 1
    assert folds.share == pytest.approx(folded_fraction(ddf))
    assert folds.minimum < 0


def test_only_what_is_near_the_structure_counts() -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation(2) @ np.diag([-0.2, 0.2, 0.4])  # margin of 4, 4 and 2 voxels
    affine[:3, 3] = [10, 20, 30]
    ddf = np.zeros((3, 30, 30, 30), dtype=np.float32)
    ddf[2, 20, 10, 10] = 3.0  # the cell before it grows, the one behind it is turned over
    field = DisplacementField(ddf, affine)

    def around(ijk: npt.ArrayLike) -> float:
        points = np.asarray(ijk) @ affine[:3, :3].T + affine[:3, 3]
        folds = field.folds_around(points[None])
        assert folds is not None
        return folds.minimum

    assert around([20, 10, 9]) == pytest.approx(-2)
    assert around([16.5, 10, 11.5]) == pytest.approx(-2)
    assert around([14, 10, 10]) == 1
    assert around([20, 10, 14]) == 1
    assert field.folds_around(np.array([[1000.0, 0, 0]])) is None
    with pytest.raises(ValueError, match="ddf_ijk"):
        DisplacementField(ddf[0], affine)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_field_read_from_a_result_has_the_determinant_of_the_one_that_was_written(side: str, tmp_path: Path) -> None:
    matrix = np.eye(3) + np.array([[0.02, 0.05, 0.0], [0.0, -0.04, 0.03], [0.06, 0.0, 0.01]])
    ear = segmentation("left" if side == "left" else "right")
    ear = replace(ear, ddf_ijk=linear_field(matrix, ear.frame.grid) + np.float32(5))
    write_displacement(ear, tmp_path / "displacement.nii.gz")
    field = ResultFolder(tmp_path).field()
    assert field is not None
    folds = field.folds_around(ear.meshes_ras["modiolus"].vertices)
    assert folds is not None
    assert folds.minimum == pytest.approx(np.linalg.det(matrix), abs=2e-3)
    assert folds.share == 0
    # Where the field ends, five voxels of displacement end at once; that is no fold.
    image = ear.volume
    corners = np.array([[0.0, 0, 0], np.array(image.shape) - 1.0]) @ image.affine[:3, :3].T + image.affine[:3, 3]
    everywhere = field.folds_around(corners)
    assert everywhere is not None
    assert everywhere.minimum > 0.9
    assert DisplacementField(field.ddf_ijk, field.ijk_to_ras).folds_around(corners).minimum < 0.5  # type: ignore[union-attr]
