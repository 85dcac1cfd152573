"""Whole requests: raw CT with landmarks, prepared crops, and everything that is neither."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial import cKDTree
from volume_fixtures import (
    full_frame,
    load_nifti,
    orientations,
    patient_landmarks,
    pose,
    random_image,
    small_frame,
    voxel_centres,
)

from model.errors import ImageError, LandmarksError
from model.geometry.landmarks import Landmarks, Side
from model.geometry.spaces import apply_affine
from model.request import CheckedRequest, check_request
from model.volumes.intensity import IntensityRule
from model.volumes.volume import ImageLimits

FRAME = small_frame((60, 64, 68), 0.4)
WINDOW = IntensityRule.from_json({"rule": "hu_window", "low": -1000, "high": 2600})
STORED = IntensityRule.from_json({"rule": "as_stored"})
MOTION = pose((25, -15, 40), (5, 6, 7))


def save(path: Path, data: npt.NDArray[np.float32], affine: npt.NDArray[np.float64]) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def raw_affine(side: Side) -> npt.NDArray[np.float64]:
    """Give the affine of a raw CT of 50 x 60 x 40 voxels around the landmarks."""
    points = np.array(list(patient_landmarks(FRAME, side, MOTION).points_ras.values()))
    affine = pose((5, 8, -12), (0, 0, 0)) @ np.diag([0.3, -0.25, 0.35, 1.0])
    affine[:3, 3] = points.mean(axis=0) - affine[:3, :3] @ np.array([25.0, 30.0, 20.0])
    return affine


def raw_ct(path: Path, side: Side) -> Path:
    """Write a CT in which every voxel has the number of the nearest landmark, times 100 HU."""
    affine = raw_affine(side)
    centres = voxel_centres((50, 60, 40), affine)
    points = np.array(list(patient_landmarks(FRAME, side, MOTION).points_ras.values()))
    nearest = cKDTree(points).query(centres)[1]
    return save(path, nearest.astype(np.float32) * 100.0, affine)


def prepared(path: Path, scale: float = 1.0, affine: npt.NDArray[np.float64] | None = None) -> Path:
    data = np.random.default_rng(5).uniform(-1, 1, size=FRAME.grid).astype(np.float32) * scale
    return save(path, data, FRAME.affine_ras if affine is None else affine)


def checked(image: Path, landmarks: Landmarks | None = None, side: Side | None = None) -> CheckedRequest:
    return check_request(image, landmarks=landmarks, side=side, frame=FRAME)


@pytest.mark.parametrize("side", ["left", "right"])
def test_landmarks_of_a_raw_ct_land_on_the_frames(tmp_path: Path, side: Side) -> None:
    request = checked(raw_ct(tmp_path / "ear.nii.gz", side), patient_landmarks(FRAME, side, MOTION))
    assert request.kind == "raw"
    assert request.side == request.alignment.side == side
    assert request.warnings == ()
    image, inside = request.canonical_image(FRAME, WINDOW)
    for number, point in enumerate(FRAME.landmarks_ijk.values()):
        index = tuple(np.round(point).astype(int))
        assert inside[index]
        assert image[index] == pytest.approx((1000.0 + 100.0 * number) / 1800.0 - 1.0, abs=1e-4)
    corner = (0, 0, 0)
    assert not inside[corner]
    assert image[corner] == -1.0


def test_orientations_of_a_raw_ct_give_the_same_crop(tmp_path: Path) -> None:
    landmarks = patient_landmarks(FRAME, "right", MOTION)
    noise = random_image((50, 60, 40), raw_affine("right"))
    crops = []
    for number, (data, affine) in enumerate(orientations(noise.data, noise.affine)):
        if number % 6 == 0:
            request = checked(save(tmp_path / "ear.nii", data, affine), landmarks, "right")
            crops.append(request.canonical_image(FRAME, WINDOW)[0])
    assert len(crops) == 8
    # NIfTI stores affines in single precision: places differ by some nanometres.
    assert max(np.abs(crop - crops[0])[1:-1].max() for crop in crops) < 1e-3


def test_three_landmarks_with_side_carry_a_warning(tmp_path: Path) -> None:
    points = patient_landmarks(FRAME, "left", MOTION).points_ras
    three = Landmarks({name: points[name] for name in ("RW", "C", "OW")}, "left")
    request = checked(raw_ct(tmp_path / "ear.nii", "left"), three)
    assert any("both sides" in warning for warning in request.warnings)


def test_large_residual_carries_a_warning(tmp_path: Path) -> None:
    points = dict(patient_landmarks(FRAME, "left", MOTION).points_ras)
    x, y, z = points["A"]
    points["A"] = (x + 2.2, y - 2.2, z)
    request = checked(raw_ct(tmp_path / "ear.nii", "left"), Landmarks(points), "left")
    assert any("mm (rms)" in warning for warning in request.warnings)


def test_coarse_ct_carries_a_warning(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    landmarks = patient_landmarks(FRAME, "left", MOTION)
    affine[:3, 3] = np.mean(list(landmarks.points_ras.values()), axis=0) - 15.0
    volume = random_image((30, 30, 30), affine)
    request = checked(save(tmp_path / "ear.nii", volume.data, affine), landmarks)
    assert any("coarse" in warning for warning in request.warnings)


def test_landmarks_outside_are_refused_by_name(tmp_path: Path) -> None:
    points = dict(patient_landmarks(FRAME, "left", MOTION).points_ras)
    points["OW"] = (500.0, 0.0, 0.0)
    with pytest.raises(LandmarksError, match="OW outside"):
        checked(raw_ct(tmp_path / "ear.nii", "left"), Landmarks(points))


def test_the_last_voxel_is_inside_and_the_next_is_not(tmp_path: Path) -> None:
    affine = raw_affine("left")
    points = dict(patient_landmarks(FRAME, "left", MOTION).points_ras)
    for offset, outside in ((0.45, False), (0.55, True)):
        x, y, z = apply_affine(affine, (49.0 + offset, 30.0, 20.0))
        points["V"] = (float(x), float(y), float(z))
        # The ear then no longer fits; what is asked here is which error comes first.
        with pytest.raises(LandmarksError, match="V outside" if outside else "fit"):
            checked(raw_ct(tmp_path / "ear.nii", "left"), Landmarks(points), "left")


def test_contradicting_sides_are_refused(tmp_path: Path) -> None:
    landmarks = patient_landmarks(FRAME, "left", MOTION, stated="left")
    with pytest.raises(LandmarksError, match="another side"):
        checked(raw_ct(tmp_path / "ear.nii", "left"), landmarks, "right")


def test_wrong_side_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LandmarksError, match="not those of a right ear"):
        checked(raw_ct(tmp_path / "ear.nii", "left"), patient_landmarks(FRAME, "left", MOTION), "right")


def test_raw_ct_without_landmarks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="raw CT needs landmarks") as caught:
        checked(raw_ct(tmp_path / "ear.nii", "left"), None, "left")
    assert "50 x 60 x 40 voxels" in str(caught.value)
    assert "60 x 64 x 68 voxels of 0.4 mm" in str(caught.value)


def test_raw_ct_without_affine_is_refused(tmp_path: Path) -> None:
    path = raw_ct(tmp_path / "ear.nii", "left")
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(ImageError, match="does not say where it lies"):
        checked(path, patient_landmarks(FRAME, "left", MOTION))


def test_limits_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="too large"):
        check_request(
            prepared(tmp_path / "ear.nii"), landmarks=None, side=None, frame=FRAME, limits=ImageLimits(max_file_bytes=9)
        )


@pytest.mark.parametrize(("side", "mirrored"), [(None, False), ("left", False), ("right", True)])
def test_prepared_crops_are_taken_as_stored(tmp_path: Path, side: Side | None, mirrored: bool) -> None:
    path = prepared(tmp_path / "crop.nii.gz")
    request = checked(path, None, side)
    assert request.kind == "prepared"
    assert request.side == ("right" if mirrored else "left")
    assert any("No side" in warning for warning in request.warnings) == (side is None)
    stored = np.asarray(load_nifti(path).dataobj)
    for rule in (WINDOW, STORED):
        image, inside = request.canonical_image(FRAME, rule)
        assert np.array_equal(image, stored[::-1] if mirrored else stored)
        assert inside.all()


@pytest.mark.parametrize("side", [None, "right"])
def test_prepared_crops_of_all_orientations_are_one(tmp_path: Path, side: Side | None) -> None:
    frame = small_frame()
    stored = np.random.default_rng(5).uniform(-1, 1, size=frame.grid).astype(np.float32)
    for number, (data, affine) in enumerate(orientations(stored, frame.affine_ras)):
        path = save(tmp_path / "crop.nii", data, affine)
        request = check_request(path, landmarks=None, side=side, frame=frame)
        image, _ = request.canonical_image(frame, STORED)
        assert np.array_equal(image, stored[::-1] if side == "right" else stored)
        if side is None:
            assert any("order L, P, S" in warning for warning in request.warnings) == (number > 0)


def test_tilted_prepared_crops_carry_a_warning(tmp_path: Path) -> None:
    for tilt, warned in ((20.0, False), (35.0, True)):
        path = prepared(tmp_path / "crop.nii", affine=pose((0, 0, tilt), (0, 0, 0)) @ FRAME.affine_ras)
        request = checked(path, None, "left")
        assert any("degrees off" in warning for warning in request.warnings) == warned
        assert np.array_equal(request.canonical_image(FRAME, STORED)[0], np.asarray(load_nifti(path).dataobj))


def test_prepared_crop_without_affine_is_taken_as_lps(tmp_path: Path) -> None:
    path = prepared(tmp_path / "crop.nii")
    stored = np.asarray(load_nifti(path).dataobj).copy()
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)
    path.write_bytes(content)
    request = checked(path, None, "left")
    assert np.array_equal(request.canonical_image(FRAME, STORED)[0], stored)
    assert any("L, P, S" in warning for warning in request.warnings)


def test_prepared_crop_of_the_shipped_frame(tmp_path: Path) -> None:
    frame = full_frame()
    data = np.random.default_rng(0).uniform(-1, 1, size=frame.grid).astype(np.float32)
    request = check_request(
        save(tmp_path / "crop.nii", data, frame.affine_ras), landmarks=None, side="left", frame=frame
    )
    assert request.kind == "prepared"


@pytest.mark.parametrize(
    ("affine", "scale", "said"),
    [
        (np.diag([-0.5, -0.5, 0.5, 1.0]), 1.0, "spacing of 0.5"),
        (np.diag([-0.4, -0.4, 0.41, 1.0]), 1.0, "spacing of 0.4"),
        (np.diag([-0.4, -0.4, 0.4, 1.0]), 1000.0, "values from -"),
        (np.diag([-0.4, -0.4, 0.4, 1.0])[[1, 0, 2, 3]], 1.0, "60 x 64 x 68 voxels"),
    ],
)
def test_nearly_prepared_crops_are_refused(
    tmp_path: Path, affine: npt.NDArray[np.float64], scale: float, said: str
) -> None:
    with pytest.raises(ImageError, match="not a prepared crop") as caught:
        checked(prepared(tmp_path / "crop.nii", scale, affine))
    assert said in (caught.value.found or "")


def test_intensities_must_suit_the_model(tmp_path: Path) -> None:
    landmarks = patient_landmarks(FRAME, "left", MOTION)
    raw = raw_ct(tmp_path / "raw.nii", "left")
    assert check_request(raw, landmarks=landmarks, side=None, frame=FRAME, intensity=WINDOW).kind == "raw"
    with pytest.raises(ImageError, match="intensities"):
        check_request(raw, landmarks=landmarks, side=None, frame=FRAME, intensity=STORED)
    scaled = save(tmp_path / "scaled.nii", random_image((50, 60, 40), np.eye(4)).data / 1e4, raw_affine("left"))
    with pytest.raises(ImageError, match="intensities"):
        check_request(scaled, landmarks=landmarks, side=None, frame=FRAME, intensity=WINDOW)
    assert check_request(scaled, landmarks=landmarks, side=None, frame=FRAME, intensity=STORED).kind == "raw"
