"""The canonical frame as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from volume_fixtures import full_frame

from model.errors import BundleError
from model.geometry.frame import CanonicalFrame


def test_json_round_trip() -> None:
    frame = full_frame()
    again = CanonicalFrame.from_json(frame.to_json())
    assert again.to_json() == frame.to_json()
    assert again.grid == (128, 128, 128)
    assert again.landmarks_ijk["OW"] == (68.97, 54.92, 56.75)


def test_own_affine_points_left_posterior_superior() -> None:
    assert np.array_equal(full_frame().affine_ras, np.diag([-0.2, -0.2, 0.2, 1.0]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("axes", "RAS"),
        ("side", "right"),
        ("grid", [128, 128]),
        ("grid", [128, 128, 4]),
        ("grid", [128.0, 128, 128]),
        ("spacing_mm", 0),
        ("spacing_mm", "0.2"),
        ("spacing_mm", True),
        ("spacing_mm", float("nan")),
        ("landmarks_ijk", None),
        ("landmarks_ijk", {"XX": [1, 2, 3]}),
        ("landmarks_ijk", {"RW": [1, 2]}),
        ("landmarks_ijk", {"RW": [1, 2, float("inf")]}),
    ],
)
def test_unusable_frames_are_refused(key: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    with pytest.raises(BundleError, match=key):
        CanonicalFrame.from_json({**full_frame().to_json(), key: value})
