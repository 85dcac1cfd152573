"""Intensity rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import BundleError, ImageError
from model.volumes.intensity import IntensityRule

WINDOW = IntensityRule.from_json({"rule": "hu_window", "low": -1000, "high": 2600})
STORED = IntensityRule.from_json({"rule": "as_stored"})
EXTREMES = IntensityRule.from_json({"rule": "min_max", "low": -1024, "high": 3071})


def test_window_ends_and_middle() -> None:
    mapped = WINDOW.apply(np.array([-3000, -1000, 800, 2600, 4000]))
    assert mapped.dtype == np.float32
    assert np.allclose(mapped, [-1, -1, 0, 1, 1])


@given(st.floats(-2000, 4000))
def test_window_equals_numpys_interpolation(value: float) -> None:
    assert WINDOW.apply(value) == pytest.approx(np.interp(value, [-1000, 2600], [-1, 1]), abs=1e-6)


def test_fill_is_the_low_end_unless_stated() -> None:
    assert WINDOW.fill_hu == -1000.0
    assert STORED.fill_hu == -1.0
    stated = IntensityRule.from_json({"rule": "hu_window", "low": -1000, "high": 2600, "fill_hu": 1400})
    assert stated.fill_hu == 1400.0


def test_as_stored_changes_nothing_and_refuses_hounsfield_units() -> None:
    values = np.array([-1.0, -0.25, 1.0], dtype=np.float32)
    assert np.array_equal(STORED.apply(values), values)
    with pytest.raises(ImageError, match="as stored"):
        STORED.apply(np.array([-1000.0, 200.0]))


def test_the_extremes_of_the_image_become_the_ends() -> None:
    assert np.allclose(EXTREMES.apply(np.array([-300.0, 700.0, 1700.0])), [-1, 0, 1])
    # Padding of a scanner and an extended scale do not take the contrast.
    assert np.allclose(EXTREMES.apply(np.array([-3024.0, -1024.0, 1023.5, 3071.0, 20000.0])), [-1, -1, 0, 1, 1])


def test_extremes_are_sought_in_the_field_of_view_only() -> None:
    values, inside = np.array([[-1024.0, 200.0], [1200.0, 3000.0]]), np.array([[False, True], [True, False]])
    mapped = EXTREMES.apply(values, inside)
    assert np.allclose(mapped, [[-1, -1], [1, 1]])
    assert np.array_equal(WINDOW.apply(values, inside), WINDOW.apply(values))


@pytest.mark.parametrize(
    ("values", "inside"),
    [([5.0, 5.0], None), ([4000.0, 5000.0], None), ([1.0, 2.0], [True, False]), ([1.0, 2.0], [False, False])],
)
def test_an_image_without_contrast_is_refused(values: list[float], inside: list[bool] | None) -> None:
    with pytest.raises(ImageError, match="contrast"):
        EXTREMES.apply(np.array(values), None if inside is None else np.array(inside))


@pytest.mark.parametrize("rule", [WINDOW, STORED, EXTREMES])
def test_json_round_trip(rule: IntensityRule) -> None:
    assert IntensityRule.from_json(rule.to_json()) == rule


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rule": "z_score"},
        {"rule": "hu_window"},
        {"rule": "hu_window", "low": 0},
        {"rule": "min_max"},
        {"rule": "min_max", "low": 5, "high": 5},
        {"rule": "hu_window", "low": 100, "high": 100},
        {"rule": "hu_window", "low": "0", "high": 100},
        {"rule": "hu_window", "low": 0, "high": float("nan")},
        {"rule": "hu_window", "low": 0, "high": 100, "fill_hu": None},
    ],
)
def test_unusable_rules_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        IntensityRule.from_json(document)
