"""Resampling into the canonical crop and displacements back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_fixtures import (
    full_frame,
    linear_image,
    linear_value,
    make_volume,
    orientations,
    patient_landmarks,
    pose,
    random_image,
    small_frame,
    voxel_centres,
)

from model.geometry.alignment import Alignment, align_by_landmarks, align_prepared
from model.geometry.landmarks import Side
from model.geometry.spaces import apply_affine
from model.volumes.resample import border_distance_mm, canonical_box, displacement_to_patient_ras, resample_to_canonical

FRAME = small_frame()
SIDES = st.sampled_from(["left", "right"])
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SHAPE = (40, 44, 30)


def aligned(side: Side, motion: npt.NDArray[np.float64]) -> Alignment:
    return align_by_landmarks(patient_landmarks(FRAME, side, motion), side, FRAME)


def affine_around(
    alignment: Alignment, tilt: npt.NDArray[np.float64], spacing: tuple[float, float, float]
) -> npt.NDArray[np.float64]:
    """Give the affine of an image of `SHAPE`, tilted, whose centre lies at the crop's centre."""
    affine = tilt @ np.diag([*spacing, 1.0])
    middle = apply_affine(alignment.canonical_to_ras, (np.array(FRAME.grid) - 1) / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


@settings(max_examples=25, deadline=None)
@given(SIDES, ANGLES, ANGLES)
def test_linear_images_come_through_exactly(
    side: Side, head: tuple[float, float, float], tilt: tuple[float, float, float]
) -> None:
    alignment = aligned(side, pose(head, (13.0, -40.0, 25.0)))
    volume = linear_image(SHAPE, affine_around(alignment, pose(tilt, (0, 0, 0)), (0.5, 0.4, 0.7)))
    image, inside = resample_to_canonical(volume, alignment, FRAME, -1000.0)
    assert image.dtype == np.float32
    assert image.shape == inside.shape == FRAME.grid
    centres_ras = voxel_centres(FRAME.grid, alignment.canonical_to_ras)
    at = apply_affine(np.linalg.inv(volume.affine), centres_ras)
    last = np.array(SHAPE) - 1
    strictly = np.all((at >= 0) & (at <= last), axis=-1)
    assert strictly.any()
    assert np.abs(image - linear_value(centres_ras))[strictly].max() < 2e-2
    assert inside[strictly].all()
    outside = np.any((at < -0.501) | (at > last + 0.501), axis=-1)
    assert not inside[outside].any()
    assert np.array_equal(image[~inside], np.full((~inside).sum(), -1000.0))


def trilinear(data: npt.NDArray[np.float32], at: npt.NDArray[np.float64]) -> float:
    """Interpolate at one point, eight corners written out."""
    at = np.clip(at, 0, np.array(data.shape) - 1)
    base = np.minimum(np.floor(at).astype(int), np.array(data.shape) - 2)
    f = at - base
    value = 0.0
    for di in (0, 1):
        for dj in (0, 1):
            for dk in (0, 1):
                weight = (f[0] if di else 1 - f[0]) * (f[1] if dj else 1 - f[1]) * (f[2] if dk else 1 - f[2])
                value += weight * float(data[base[0] + di, base[1] + dj, base[2] + dk])
    return value


@pytest.mark.parametrize("side", ["left", "right"])
def test_single_voxels_equal_the_written_out_formula(side: Side) -> None:
    alignment = aligned(side, pose((25, -15, 40), (5, 6, 7)))
    volume = random_image(SHAPE, affine_around(alignment, pose((5, 8, -12), (0, 0, 0)), (0.4, 0.5, 0.6)))
    image, inside = resample_to_canonical(volume, alignment, FRAME, 0.0)
    for i, j, k in np.random.default_rng(1).permutation(np.argwhere(inside))[:200]:
        at = apply_affine(np.linalg.inv(volume.affine) @ alignment.canonical_to_ras, (i, j, k))
        assert image[i, j, k] == pytest.approx(trilinear(volume.data, at), abs=0.02)


@pytest.mark.parametrize("side", ["left", "right"])
def test_all_orientations_give_one_crop(side: Side) -> None:
    alignment = aligned(side, pose((25, -15, 40), (5, 6, 7)))
    affine = affine_around(alignment, pose((5, 8, -12), (0, 0, 0)), (0.4, 0.05, 0.6))
    volume = random_image((24, 90, 20), affine)
    expected, expected_inside = resample_to_canonical(volume, alignment, FRAME, -1000.0)
    assert 0.02 < expected_inside.mean() < 0.98
    for data, stored_affine in orientations(volume.data, affine):
        image, inside = resample_to_canonical(make_volume(data, stored_affine), alignment, FRAME, -1000.0)
        assert np.array_equal(inside, expected_inside)
        assert np.abs(image - expected).max() < 0.02  # of noise with a standard deviation of hundreds


def test_a_swapped_axis_shows() -> None:
    alignment = aligned("left", pose((25, -15, 40), (5, 6, 7)))
    volume = random_image((30, 30, 30), affine_around(alignment, np.eye(4), (0.5, 0.5, 0.5)))
    image, _ = resample_to_canonical(volume, alignment, FRAME, 0.0)
    swapped, _ = resample_to_canonical(replace(volume, data=volume.data.transpose(1, 0, 2)), alignment, FRAME, 0.0)
    assert np.abs(image - swapped).max() > 100


@pytest.mark.parametrize("side", ["left", "right"])
def test_prepared_crops_pass_unchanged(side: Side) -> None:
    frame = small_frame((8, 9, 10))
    affine = frame.affine_ras @ pose((4.0, -3.0, 5.0), (3.3, 4.4, 5.5))
    volume = random_image((8, 9, 10), affine)
    expected = volume.data[::-1] if side == "right" else volume.data
    for data, stored_affine in orientations(volume.data, affine):
        alignment = align_prepared(stored_affine, side, frame)
        image, inside = resample_to_canonical(make_volume(data, stored_affine), alignment, frame, 0.0)
        assert np.array_equal(image, expected)
        assert inside.all()


def test_an_image_elsewhere_gives_fill_only() -> None:
    alignment = aligned("left", np.eye(4))
    volume = random_image(SHAPE, pose((0, 0, 0), (500, 500, 500)) @ np.diag([0.4, 0.4, 0.4, 1]))
    image, inside = resample_to_canonical(volume, alignment, FRAME, -1000.0)
    assert not inside.any()
    assert np.array_equal(image, np.full(FRAME.grid, -1000.0))
    assert canonical_box(alignment, FRAME, volume) is None
    assert not displacement_to_patient_ras(np.ones((3, *FRAME.grid)), alignment, volume).any()


def test_fine_images_are_smoothed_to_the_grid() -> None:
    """White noise at an eighth of the grid's spacing: its deviation falls as that of a box average about does."""
    frame = full_frame()
    alignment = align_by_landmarks(patient_landmarks(frame, "left", np.eye(4)), "left", frame)
    middle = apply_affine(alignment.canonical_to_ras, (64.0, 64.0, 64.0))
    noise = {}
    for spacing in (0.05, 0.1):
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = middle
        volume = random_image((80, 80, 80), affine)
        image, inside = resample_to_canonical(volume, alignment, frame, 0.0)
        noise[spacing] = image[inside].std() / volume.data.std()
    assert 0.02 < noise[0.05] < 0.15  # (0.05 / 0.2)^1.5 = 0.125 for a box of 0.2 mm
    assert noise[0.1] > 0.9  # not finer than half the grid: sampled as it is (points fall on centres here)


@pytest.mark.parametrize("side", ["left", "right"])
def test_constant_displacement_turns_with_the_axes(side: Side) -> None:
    alignment = aligned(side, np.eye(4))
    volume = random_image(SHAPE, affine_around(alignment, pose((10, 20, 30), (0, 0, 0)), (0.3, 0.3, 0.3)))
    ddf = np.zeros((3, *FRAME.grid))
    ddf[0], ddf[1], ddf[2] = 1.0, 2.0, 3.0
    field = displacement_to_patient_ras(ddf, alignment, volume)
    right = -0.6 if side == "left" else 0.6
    assert field.shape == (*SHAPE, 3)
    assert field.dtype == np.float32
    assert np.allclose(field[20, 22, 15], [right, -1.2, 1.8], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(SIDES, ANGLES, ANGLES)
def test_displaced_points_agree_in_both_spaces(
    side: Side, head: tuple[float, float, float], tilt: tuple[float, float, float]
) -> None:
    """A linear field is exact under interpolation: moving in canonical voxels or in patient millimetres is the same."""
    alignment = aligned(side, pose(head, (13.0, -40.0, 25.0)))
    volume = random_image(SHAPE, affine_around(alignment, pose(tilt, (0, 0, 0)), (0.5, 0.4, 0.7)))
    index = np.stack(np.meshgrid(*map(np.arange, FRAME.grid), indexing="ij"), axis=-1)
    mixing = np.array([[0.02, -0.01, 0.03], [0.01, 0.04, -0.02], [-0.03, 0.01, 0.02]])
    ddf = np.moveaxis(index @ mixing.T + np.array([0.5, -1.0, 2.0]), -1, 0)
    field = displacement_to_patient_ras(ddf, alignment, volume)
    x = voxel_centres(SHAPE, volume.affine)
    p = apply_affine(alignment.ras_to_canonical, x)
    within = np.all((p >= 0) & (p <= np.array(FRAME.grid) - 1), axis=-1)
    beyond = np.any((p < -0.51) | (p > np.array(FRAME.grid) - 0.49), axis=-1)
    moved = apply_affine(alignment.canonical_to_ras, p + p @ mixing.T + np.array([0.5, -1.0, 2.0]))
    assert within.any()
    assert np.abs((x + field)[within] - moved[within]).max() < 1e-4
    assert not field[beyond].any()


def test_the_box_holds_all_that_the_crop_reaches() -> None:
    alignment = aligned("right", pose((25, -15, 40), (5, 6, 7)))
    volume = random_image((60, 70, 80), affine_around(alignment, pose((5, 8, -12), (0, 0, 0)), (0.7, 0.8, 0.9)))
    box = canonical_box(alignment, FRAME, volume)
    assert box is not None
    p = apply_affine(alignment.ras_to_canonical @ volume.affine, np.argwhere(np.ones(volume.shape)))
    within = np.all((p >= -0.5) & (p <= np.array(FRAME.grid) - 0.5), axis=-1).reshape(volume.shape)
    assert within[box].sum() == within.sum() > 0
    assert within[box].size < within.size


@settings(max_examples=15, deadline=None)
@given(SIDES, ANGLES, ANGLES)
def test_depth_in_the_field_of_view_is_positive_inside_and_true_to_scale(
    side: Side, head: tuple[float, float, float], tilt: tuple[float, float, float]
) -> None:
    alignment = aligned(side, pose(head, (13.0, -40.0, 25.0)))
    spacing = (0.15, 0.25, 0.2)
    affine = affine_around(alignment, pose(tilt, (0.0, 0.0, 0.0)), spacing)
    volume = make_volume(np.zeros(SHAPE, dtype=np.float32), affine)
    depth = border_distance_mm(volume, alignment, FRAME)
    _, inside = resample_to_canonical(volume, alignment, FRAME, fill=0.0)
    assert np.array_equal((depth >= 0)[np.abs(depth) > 1e-3], inside[np.abs(depth) > 1e-3])
    voxel = (3, 5, 2)
    at = apply_affine(np.linalg.inv(affine) @ alignment.canonical_to_ras, voxel)
    faces = [min(x + 0.5, n - 0.5 - x) * s for x, n, s in zip(at, SHAPE, spacing, strict=True)]
    assert depth[voxel] == pytest.approx(min(faces), abs=1e-4)
