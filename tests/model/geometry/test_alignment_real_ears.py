"""The side and residual thresholds on real landmarks."""

from __future__ import annotations

import itertools
import json

import pytest
from support import shared_path

from model.errors import LandmarksError
from model.geometry.alignment import align_by_landmarks
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks, Side

CASES = ("F01", "F03", "F04", "F05", "F06", "F08", "F09", "F10", "F11", "F13", "T01", "T02", "T03", "T06")


def load(case: str) -> tuple[Landmarks, Side, CanonicalFrame]:
    frame = CanonicalFrame.from_json(json.loads(shared_path("ears/frame.json").read_text()))
    stated = Landmarks.parse(shared_path(f"ears/{case}/landmarks.json").read_bytes())
    assert stated.side is not None
    return Landmarks(stated.points_ras), stated.side, frame


@pytest.mark.parametrize("case", CASES)
def test_real_ears_are_taken_and_their_mirror_images_refused(case: str) -> None:
    landmarks, side, frame = load(case)
    alignment = align_by_landmarks(landmarks, None, frame)
    assert alignment.side == side
    assert alignment.side_confirmed
    assert alignment.residual_mm is not None
    assert alignment.residual_mm < 0.6
    with pytest.raises(LandmarksError, match="not those of"):
        align_by_landmarks(landmarks, "left" if side == "right" else "right", frame)


@pytest.mark.parametrize("case", CASES)
def test_every_subset_of_real_landmarks_is_taken(case: str) -> None:
    landmarks, side, frame = load(case)
    for count in (3, 4):
        for names in itertools.combinations(landmarks.points_ras, count):
            part = Landmarks({name: landmarks.points_ras[name] for name in names})
            assert align_by_landmarks(part, side, frame).side == side
            if count == 4 and "RW" in names:
                assert align_by_landmarks(part, None, frame).side == side
