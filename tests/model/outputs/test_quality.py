"""Automatic checks of a result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from segmentations import field_of, segmentation

from model.outputs.jacobian import folded_fraction
from model.outputs.quality import check_quality
from model.outputs.segmentation import Segmentation


def verdicts(ear: Segmentation) -> dict[str, str]:
    return {check.name: check.verdict for check in check_quality(ear).checks}


def test_affine_fields_fold_nowhere_or_everywhere() -> None:
    grid = np.stack(np.meshgrid(*(np.arange(20.0),) * 3, indexing="ij")).astype(np.float32)
    assert folded_fraction(0.5 * grid) == 0.0
    assert folded_fraction(-0.9 * grid) == 0.0
    mirrored = np.zeros_like(grid)
    mirrored[1] = -2 * grid[1]
    assert folded_fraction(mirrored) == 1.0


def test_a_local_fold_is_counted_where_it_is() -> None:
    field = np.zeros((3, 21, 21, 21), dtype=np.float32)
    field[0, 10, 10, 10] = -1.5  # the cell before it in i is turned inside out
    assert folded_fraction(field) == pytest.approx(1 / 20**3)


def test_a_plain_ear_passes_but_for_the_volumes_of_its_ellipsoids() -> None:
    found = verdicts(segmentation())
    assert {name: v for name, v in found.items() if not name.startswith("volume_")} == {
        "folded_fraction": "pass",
        "vertices_outside_crop": "pass",
        "vertices_outside_image": "pass",
        "landmark_residual": "pass",
    }


def test_every_defect_is_noticed() -> None:
    ear = segmentation()
    random = np.random.default_rng(0).normal(0, 3, field_of(ear).shape).astype(np.float32)
    assert verdicts(replace(ear, ddf_ijk=random))["folded_fraction"] == "fail"
    far = {name: mesh.with_vertices(mesh.vertices + 100) for name, mesh in ear.meshes_ras.items()}
    found = verdicts(replace(ear, meshes_ras=far))
    assert found["vertices_outside_crop"] == found["vertices_outside_image"] == "fail"
    inverted = {name: mesh.flipped() for name, mesh in ear.meshes_ras.items()}
    assert verdicts(replace(ear, meshes_ras=inverted))["volume_labyrinth"] == "fail"
    poor = replace(ear.alignment, residual_mm=1.0)
    assert verdicts(replace(ear, alignment=poor))["landmark_residual"] == "review"
    assert "landmark_residual" not in verdicts(replace(ear, alignment=replace(ear.alignment, residual_mm=None)))


def test_the_verdict_is_the_worst_of_all() -> None:
    ear = segmentation()
    quality = check_quality(ear)
    order = ["pass", "review", "fail"]
    assert quality.verdict == max((check.verdict for check in quality.checks), key=order.index)
