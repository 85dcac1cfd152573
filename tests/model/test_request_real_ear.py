"""A real ear, stored in all orientations."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support import shared_path
from volume_fixtures import load_nifti, orientations

from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks
from model.geometry.spaces import apply_affine
from model.request import check_request
from model.volumes.intensity import IntensityRule
from model.volumes.read import read_image
from model.volumes.resample import resample_to_canonical

RULE = IntensityRule.from_json({"rule": "hu_window", "low": -1000, "high": 2600})


def coarser(frame: CanonicalFrame, factor: int) -> CanonicalFrame:
    """Give the frame with larger voxels over the same millimetres, which keeps tests quick."""
    i, j, k = (size // factor for size in frame.grid)
    points = {name: (x / factor, y / factor, z / factor) for name, (x, y, z) in frame.landmarks_ijk.items()}
    return CanonicalFrame((i, j, k), frame.spacing_mm * factor, "LPS", "left", points)


def real_frame() -> CanonicalFrame:
    return CanonicalFrame.from_json(json.loads(shared_path("ears/frame.json").read_text()))


def real_landmarks() -> Landmarks:
    return Landmarks.parse(shared_path("ears/T06/landmarks.json").read_bytes())


def test_orientations_of_a_real_ear_give_the_same_crop(tmp_path: Path) -> None:
    frame = coarser(real_frame(), 4)
    image = load_nifti(shared_path("ears/T06/ct.nii.gz"))
    stored = np.asarray(image.dataobj, dtype=np.int16)
    crops = []
    for data, affine in orientations(stored, image.affine):
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "ear.nii")
        request = check_request(tmp_path / "ear.nii", landmarks=real_landmarks(), side=None, frame=frame)
        crops.append(request.canonical_image(frame, RULE))
        assert request.side == "right"
    assert len(crops) == 48
    assert all(np.array_equal(inside, crops[0][1]) for _, inside in crops)
    assert max(np.abs(crop - crops[0][0]).max() for crop, _ in crops) < 1e-3


def test_the_label_of_a_real_ear_lies_at_the_frames_landmarks() -> None:
    frame = coarser(real_frame(), 2)
    landmarks = real_landmarks()
    ct = shared_path("ears/T06/ct.nii.gz")
    alignment = check_request(ct, landmarks=landmarks, side=None, frame=frame).alignment
    label = read_image(shared_path("ears/T06/labyrinth.nii.gz"))
    labyrinth, _ = resample_to_canonical(label, alignment, frame, 0.0)
    for name, point in landmarks.points_ras.items():
        at = apply_affine(alignment.ras_to_canonical, point)
        assert np.linalg.norm(at - np.array(frame.landmarks_ijk[name])) * 0.4 < 0.5
        low = np.floor(at).astype(int)
        near = labyrinth[low[0] - 3 : low[0] + 5, low[1] - 3 : low[1] + 5, low[2] - 3 : low[2] + 5]
        assert near.max() > 0.5, name
    volume_mm3 = float(labyrinth.sum()) * 0.4**3
    assert volume_mm3 == pytest.approx(float(label.data.sum()) * np.prod(label.spacing_mm), rel=0.02)
