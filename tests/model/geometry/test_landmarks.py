"""Landmark documents, good and bad."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import LandmarksError
from model.geometry.landmarks import Landmarks

POINTS = {"RW": [1.0, 2.0, 3.0], "C": [4.0, 5.0, 6.5], "A": [-7.0, 8.0, 9.0]}


def document(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    return {"side": "left", "space": "RAS", "unit": "mm", "landmarks": dict(POINTS), **changes}


def test_text_bytes_and_values_read_alike() -> None:
    text = json.dumps(document())
    parsed = Landmarks.parse(text)
    assert parsed.side == "left"
    assert parsed.points_ras["C"] == (4.0, 5.0, 6.5)
    assert Landmarks.parse(text.encode()) == Landmarks.parse(document()) == parsed


def test_lps_becomes_ras() -> None:
    parsed = Landmarks.parse(document(space="LPS"))
    assert parsed.points_ras["C"] == (-4.0, -5.0, 6.5)
    assert parsed.points_ras["A"] == (7.0, -8.0, 9.0)


def test_side_may_be_left_out() -> None:
    values = document()
    del values["side"]
    assert Landmarks.parse(values).side is None


@given(
    st.dictionaries(
        st.sampled_from(["RW", "C", "A", "OW", "V"]),
        st.tuples(*[st.floats(-1e4, 1e4)] * 3),
        min_size=3,
    ),
    st.sampled_from(["left", "right", None]),
)
def test_round_trip(points: dict[str, tuple[float, float, float]], side: Any) -> None:  # noqa: ANN401 - hypothesis
    landmarks = Landmarks(points, side)
    again = Landmarks.parse(json.dumps(landmarks.to_json()))
    assert dict(again.points_ras) == points
    assert again.side == side


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"landmarks": None}, "missing"),
        ({"landmarks": [1, 2]}, "missing"),
        ({"landmarks": {}}, "too few"),
        ({"landmarks": {"RW": [1, 2, 3], "C": [4, 5, 6]}}, "too few"),
        ({"landmarks": {**POINTS, "round window": [1, 2, 3]}}, "unknown name"),
        ({"landmarks": {**POINTS, "rw": [1, 2, 3]}}, "unknown name"),
        ({"landmarks": {**POINTS, "RW": [1, 2]}}, "RW is not a point"),
        ({"landmarks": {**POINTS, "RW": "1 2 3"}}, "RW is not a point"),
        ({"landmarks": {**POINTS, "RW": [1, 2, None]}}, "RW is not a point"),
        ({"landmarks": {**POINTS, "RW": [1, 2, True]}}, "RW is not a point"),
        ({"landmarks": {**POINTS, "RW": [1, 2, float("nan")]}}, "RW is not a point"),
        ({"landmarks": {**POINTS, "RW": [1, 2, float("inf")]}}, "RW is not a point"),
        ({"landmarks": {**POINTS, "RW": [1, 2, 10**400]}}, "RW is not a point"),
        ({"space": "IJK"}, "space"),
        ({"space": None}, "space"),
        ({"unit": "cm"}, "unit"),
        ({"unit": None}, "unit"),
        ({"side": "Left"}, "side"),
        ({"side": 1}, "side"),
        ({"patient": "x"}, "unknown key"),
    ],
)
def test_unusable_values_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LandmarksError, match=said):
        Landmarks.parse(document(**changes))


@pytest.mark.parametrize("key", ["space", "unit", "landmarks"])
def test_missing_keys_are_refused(key: str) -> None:
    values = document()
    del values[key]
    with pytest.raises(LandmarksError, match=key):
        Landmarks.parse(values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "landmarks",
        "[1, 2, 3]",
        "null",
        "[" * 60000,
        '{"space": "RAS", "space": "LPS"}',
        " " * 70000,
        b"\xff\xfe\x00",
    ],
)
def test_unusable_text_is_refused(text: str | bytes) -> None:
    with pytest.raises(LandmarksError):
        Landmarks.parse(text)


def test_nan_literal_in_text_is_refused() -> None:
    text = json.dumps(document(landmarks={**POINTS, "RW": [1, 2, float("nan")]}))
    assert "NaN" in text
    with pytest.raises(LandmarksError, match="RW is not a point"):
        Landmarks.parse(text)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    with pytest.raises(LandmarksError):
        Landmarks.parse(text)
