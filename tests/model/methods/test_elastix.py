"""Registration by elastix: direction, axes and units, on images whose displacement is known."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from surfaces import sphere

from model.errors import RunError
from model.methods.elastix import ElastixSettings, atlas_region, away_from_metal, elastix_version, register

SIZE, SPACING_MM = 40, 0.2
SHAPE = (SIZE, SIZE + 4, SIZE - 4)
QUICK = ElastixSettings(affine_iterations=80, iterations=120, resolutions=2, samples=1500, bending=0.1)


@pytest.fixture(autouse=True, scope="module")
def elastix() -> None:
    try:
        elastix_version()
    except RunError:
        pytest.skip("itk-elastix is not installed (the optional extra `elastix`)")


def texture() -> npt.NDArray[np.float32]:
    """Smooth blobs without any symmetry."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 2.5)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def test_the_field_carries_atlas_points_to_where_the_patient_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    patient = texture()
    points = np.indices(SHAPE).astype(float)
    i, j, k = points
    # A shift of another size along each axis, and a smooth deformation along one axis that varies along the others.
    truth = np.stack([1.6 + 0.8 * np.sin(j / 9), -1.0 + 0.5 * np.cos(k / 9), 0.5 + 0.6 * np.sin(i / 8)])
    atlas = map_coordinates(patient, points + truth, order=3, mode="nearest").astype(np.float32)
    inner = np.zeros(SHAPE, dtype=bool)
    inner[5:-5, 5:-5, 5:-5] = True
    found = register(atlas, -2 * patient + 1, inner, np.ones(SHAPE, dtype=bool), SPACING_MM, QUICK)
    error = np.linalg.norm(found - truth, axis=0)[inner]
    assert found.shape == (3, *SHAPE)
    assert error.mean() < 0.15, "voxels; another order of axes, unit or direction gives more than 1"
    assert np.linalg.norm(truth, axis=0)[inner].mean() > 1.5
    assert os.listdir(tmp_path) == [], "elastix leaves nothing in the working directory"


def test_what_the_mask_excludes_does_not_count() -> None:
    patient, atlas = texture(), np.roll(texture(), -1, axis=0)
    region = np.zeros(SHAPE, dtype=bool)
    region[6:-6, 6:-6, 6:-6] = True
    hidden = np.zeros(SHAPE, dtype=bool)
    hidden[:, :, : SHAPE[2] // 2] = True
    # The hidden half shows something else, as metal or the border of the field of view would.
    changed = np.where(hidden, np.roll(patient, 6, axis=1), patient)
    settings = ElastixSettings(affine_iterations=150, iterations=1, resolutions=1, grid_mm=4.0)
    shift = register(atlas, changed, region, ~hidden, SPACING_MM, settings)[:, region & ~hidden].mean(axis=1)
    assert np.allclose(shift, [1, 0, 0], atol=0.1)


def test_the_region_reaches_as_far_as_asked() -> None:
    region = atlas_region(sphere(5.0, (16, 16, 16)), (32, 32, 32), SPACING_MM, 1.0)
    away = np.linalg.norm(np.indices(region.shape) - 16.0, axis=0)
    # Five voxels beyond the sphere, give or take the voxel in which its surface lies.
    assert region[away <= 9.0].all()
    assert not region[away >= 10.6].any()


def test_control_points_lie_closest_at_the_last_level() -> None:
    schedule = [float(value) for value in ElastixSettings(resolutions=4).bspline_map()["GridSpacingSchedule"]]
    assert schedule == [8.0, 4.0, 2.0, 1.0]


def test_what_lies_near_metal_is_left_out_only_when_asked_for() -> None:
    image = np.full((16, 16, 16), 0.5, dtype=np.float32)
    image[8, 8, 8] = 1.0
    away_mm = np.linalg.norm(np.indices(image.shape) - 8, axis=0) * SPACING_MM
    assert away_from_metal(image, SPACING_MM, -1.0).all()
    assert np.array_equal(away_from_metal(image, SPACING_MM, 0.5), away_mm > 0.5)
    assert away_from_metal(image - 0.1, SPACING_MM, 0.5).all(), "there is no metal to keep away from"
