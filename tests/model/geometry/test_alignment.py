"""Alignment by landmarks and of prepared crops."""

from __future__ import annotations

import itertools
import json
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_fixtures import LANDMARKS_IJK, full_frame, make_volume, orientations, patient_landmarks, pose, small_frame

from model.errors import LandmarksError
from model.geometry.alignment import Alignment, align_by_landmarks, align_prepared
from model.geometry.landmarks import Landmarks, Side
from model.geometry.spaces import apply_affine

FRAME = full_frame()
SIDES = st.sampled_from(["left", "right"])
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SHIFTS = st.tuples(*[st.floats(-200, 200)] * 3)
MOTION = pose((20.0, -35.0, 110.0), (-30.0, 42.0, -77.0))


def opposite(side: Side) -> Side:
    return "right" if side == "left" else "left"


@settings(max_examples=60)
@given(SIDES, ANGLES, SHIFTS, st.permutations(sorted(LANDMARKS_IJK)), st.integers(3, 5))
def test_any_three_or_more_landmarks_place_the_ear(
    side: Side,
    angles: tuple[float, float, float],
    shift: tuple[float, float, float],
    order: list[str],
    count: int,
) -> None:
    motion = pose(angles, shift)
    points = patient_landmarks(FRAME, side, motion).points_ras
    chosen = Landmarks({name: points[name] for name in order[:count]})
    alignment = align_by_landmarks(chosen, side, FRAME)
    assert alignment.side == side
    assert alignment.mirrored == (side == "right")
    assert alignment.method == "landmarks"
    # Landmarks that were not used land on their places as well.
    for name, target in FRAME.landmarks_ijk.items():
        assert np.allclose(apply_affine(alignment.ras_to_canonical, points[name]), target, atol=1e-6)
    determinant = np.linalg.det(alignment.ras_to_canonical[:3, :3])
    assert np.isclose(determinant, 125.0 if side == "left" else -125.0)
    assert alignment.residual_mm is not None
    assert alignment.residual_mm < 1e-6
    assert set(alignment.landmark_residuals_mm) == set(order[:count])


@settings(max_examples=30)
@given(SIDES, ANGLES, SHIFTS, st.integers(0, 100))
def test_points_go_there_and_back(
    side: Side, angles: tuple[float, float, float], shift: tuple[float, float, float], seed: int
) -> None:
    alignment = align_by_landmarks(patient_landmarks(FRAME, side, pose(angles, shift)), side, FRAME)
    points = np.random.default_rng(seed).uniform(0, 127, size=(20, 3))
    there = apply_affine(alignment.canonical_to_ras, points)
    assert np.allclose(apply_affine(alignment.ras_to_canonical, there), points, atol=1e-9)
    distances = np.linalg.norm(np.diff(there, axis=0), axis=1)
    assert np.allclose(distances, np.linalg.norm(np.diff(points, axis=0), axis=1) * 0.2)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_pose_is_head_position(side: Side) -> None:
    """In an unrotated head, canonical j runs to posterior, k to superior, i away from the midplane's other side."""
    alignment = align_by_landmarks(patient_landmarks(FRAME, side, np.eye(4)), side, FRAME)
    i, j, k = (alignment.canonical_to_ras[:3, axis] for axis in range(3))
    assert np.allclose(i, [-0.2 if side == "left" else 0.2, 0, 0], atol=1e-9)
    assert np.allclose(j, [0, -0.2, 0], atol=1e-9)
    assert np.allclose(k, [0, 0, 0.2], atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_side_is_found_when_not_stated(side: Side) -> None:
    alignment = align_by_landmarks(patient_landmarks(FRAME, side, MOTION), None, FRAME)
    assert alignment.side == side
    assert alignment.side_confirmed


@pytest.mark.parametrize("side", ["left", "right"])
def test_side_of_the_landmarks_counts(side: Side) -> None:
    landmarks = patient_landmarks(FRAME, side, MOTION, stated=side)
    assert align_by_landmarks(landmarks, None, FRAME).side == side
    with pytest.raises(LandmarksError, match="another side") as caught:
        align_by_landmarks(landmarks, opposite(side), FRAME)
    assert caught.value.field == "side"


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("missing", [None, "RW", "C", "A", "OW", "V"])
def test_wrong_side_is_refused(side: Side, missing: str | None) -> None:
    points = dict(patient_landmarks(FRAME, side, MOTION).points_ras)
    points.pop(missing or "", None)
    if missing == "RW":
        # Centre, apex, oval window and vestibule lie nearly in one plane: both sides fit, so neither is refused.
        assert not align_by_landmarks(Landmarks(points), opposite(side), FRAME).side_confirmed
        return
    with pytest.raises(LandmarksError, match=f"not those of a {opposite(side)} ear"):
        align_by_landmarks(Landmarks(points), opposite(side), FRAME)


@pytest.mark.parametrize("names", list(itertools.combinations(LANDMARKS_IJK, 3)))
def test_three_landmarks_need_the_side(names: tuple[str, ...]) -> None:
    points = patient_landmarks(FRAME, "right", MOTION).points_ras
    landmarks = Landmarks({name: points[name] for name in names})
    with pytest.raises(LandmarksError, match="left ear from a right one") as caught:
        align_by_landmarks(landmarks, None, FRAME)
    assert caught.value.field == "side"
    assert not align_by_landmarks(landmarks, "right", FRAME).side_confirmed


@pytest.mark.parametrize("bend_mm", [0.0, 0.2])
def test_landmarks_on_a_line_are_refused(bend_mm: float) -> None:
    points = {name: (2.0 * n, n + bend_mm * (n == 1), -1.5 * n) for n, name in enumerate(LANDMARKS_IJK)}
    with pytest.raises(LandmarksError, match="on one line"):
        align_by_landmarks(Landmarks(points), "left", FRAME)


def test_coinciding_landmarks_are_refused() -> None:
    with pytest.raises(LandmarksError, match="on one line"):
        align_by_landmarks(Landmarks(dict.fromkeys(LANDMARKS_IJK, (1.0, 2.0, 3.0))), "left", FRAME)


def test_swapped_names_are_refused() -> None:
    points = dict(patient_landmarks(FRAME, "left", MOTION).points_ras)
    points["RW"], points["A"] = points["A"], points["RW"]
    with pytest.raises(LandmarksError, match="do not fit an ear"):
        align_by_landmarks(Landmarks(points), "left", FRAME)


def test_centimetres_are_refused() -> None:
    points = patient_landmarks(FRAME, "left", MOTION).points_ras
    tenth = {name: (x * 10, y * 10, z * 10) for name, (x, y, z) in points.items()}
    with pytest.raises(LandmarksError, match="do not fit an ear"):
        align_by_landmarks(Landmarks(tenth), "left", FRAME)


def test_too_few_landmarks_for_the_frame_are_refused() -> None:
    points = patient_landmarks(FRAME, "left", MOTION).points_ras
    with pytest.raises(LandmarksError, match="too few"):
        align_by_landmarks(Landmarks({name: points[name] for name in ("RW", "C")}), "left", FRAME)


def test_residual_is_the_root_mean_square() -> None:
    generator = np.random.default_rng(3)
    points = {
        name: cast("tuple[float, float, float]", tuple(np.array(point) + generator.normal(size=3) * 0.2))
        for name, point in patient_landmarks(FRAME, "left", MOTION).points_ras.items()
    }
    alignment = align_by_landmarks(Landmarks(points), "left", FRAME)
    apart = [
        0.2 * np.linalg.norm(apply_affine(alignment.ras_to_canonical, points[name]) - np.array(target))
        for name, target in FRAME.landmarks_ijk.items()
    ]
    assert np.allclose(list(alignment.landmark_residuals_mm.values()), apart)
    assert alignment.residual_mm is not None
    assert alignment.residual_mm == pytest.approx(np.sqrt(np.mean(np.square(apart))))
    assert alignment.residual_mm > 0.05


def test_json_holds_plain_values() -> None:
    alignment = align_by_landmarks(patient_landmarks(FRAME, "right", MOTION), None, FRAME)
    values = json.loads(json.dumps(alignment.to_json()))
    assert values["side"] == "right"
    assert values["mirrored"] is True
    assert np.allclose(values["ras_to_canonical"], alignment.ras_to_canonical)


def voxel_order(alignment: Alignment, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Give the canonical index of every stored voxel."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return apply_affine(alignment.ras_to_canonical @ affine, index)


@pytest.mark.parametrize("side", [None, "left", "right"])
def test_prepared_crops_of_all_orientations_mean_the_same_ear(side: Side | None) -> None:
    frame = small_frame((8, 9, 10))
    affine = frame.affine_ras @ pose((4.0, -3.0, 5.0), (0.0, 0.0, 0.0))
    affine[:3, 3] = (11.0, -7.0, 3.0)
    marked = make_volume(np.arange(720, dtype=np.float32).reshape(8, 9, 10), affine)
    expected = marked.data[::-1] if side == "right" else marked.data
    for data, stored_affine in orientations(marked.data, affine):
        alignment = align_prepared(stored_affine, side, frame)
        shape = cast("tuple[int, int, int]", data.shape)
        where = voxel_order(alignment, shape, stored_affine)
        assert np.allclose(where, np.round(where), atol=1e-9)
        i, j, k = np.moveaxis(np.round(where).astype(int), -1, 0)
        crop = np.empty(frame.grid, dtype=np.float32)
        crop[i, j, k] = data
        assert np.array_equal(crop, expected)
        assert alignment.mirrored == (side == "right")
        assert alignment.residual_mm is None
