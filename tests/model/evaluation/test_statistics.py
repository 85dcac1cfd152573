"""Summaries and error curves of many cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from studies import rows_of

from model.errors import InputError
from model.evaluation.curves import STEPS_MM, error_curves, shares_below
from model.evaluation.missing import find_missing
from model.evaluation.rows import Row, check_rows, rows_to_csv
from model.evaluation.statistics import bootstrap_interval, summarise


def test_a_summary_is_that_of_the_known_values() -> None:
    values = {"a": 0.9, "b": 0.8, "c": None, "d": 0.5, "e": 0.6}
    (summary,) = summarise([*rows_of("m", values), *rows_of("empty", {"a": None})])
    assert (summary.method, summary.cases, summary.missing) == ("m", 4, 1)
    assert summary.mean == pytest.approx(0.7)  # (0.9 + 0.8 + 0.5 + 0.6) / 4: nothing counted as zero
    assert summary.median == pytest.approx(0.7)
    assert summary.quartiles == pytest.approx((0.575, 0.825))
    assert (summary.minimum, summary.maximum) == (0.5, 0.9)
    assert summary.mean_interval is None  # too few


def test_groups_and_methods_are_kept_apart() -> None:
    rows = [
        *rows_of("m", {"a": 0.9}, group="with_metal"),
        *rows_of("m", {"a": 0.1}, group="without_metal"),
        *rows_of("n", {"a": 0.4}, group="with_metal"),
    ]
    found = {(item.method, item.group): item.mean for item in summarise(rows)}
    assert found == {("m", "with_metal"): 0.9, ("m", "without_metal"): 0.1, ("n", "with_metal"): 0.4}


@given(seed=st.integers(0, 1000), half=st.integers(3, 20))
@settings(max_examples=15, deadline=None)
def test_the_interval_of_the_median_is_that_of_its_exact_bootstrap_distribution(seed: int, half: int) -> None:
    count = 2 * half + 1
    values = np.sort(np.random.default_rng(seed).normal(size=count))
    # The median of a resample is at most the k-th value when half + 1 or more draws are (Efron 1979).
    at_most = binom.sf(half, count, np.arange(1, count + 1) / count)
    interval = bootstrap_interval(values, "median", seed)
    assert interval is not None
    for limit, wanted in zip(interval, (0.025, 0.975), strict=True):
        # The exact distribution must pass the wanted level at the limit, within the noise of 2,000 resamples.
        noise = 4 * np.sqrt(wanted * (1 - wanted) / 2000)
        # Percentiles are interpolated, so the limit may lie between two values.
        place = np.searchsorted(values, limit, side="left")
        before = at_most[place - 1] if place > 0 else 0.0
        assert before - noise <= wanted <= at_most[place] + noise


def test_the_interval_of_the_mean_is_seeded_and_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    interval = bootstrap_interval(values, "mean", 1)
    assert interval is not None
    assert interval == bootstrap_interval(values[::-1], "mean", 1)
    assert interval != bootstrap_interval(values, "mean", 2)
    expected = values.mean() + np.array([-1.96, 1.96]) * values.std() / 20
    assert interval == pytest.approx(expected, abs=0.03)
    assert bootstrap_interval([0.5] * 9, "mean") == (0.5, 0.5)
    assert bootstrap_interval([1, 2, 3, 4, 5], "mean") is None


@given(errors=st.lists(st.floats(0, 5), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_curves_count_what_is_within_each_step(errors: list[float]) -> None:
    shares = shares_below(errors)
    assert list(shares) == sorted(shares)
    for step, share in zip(STEPS_MM, shares, strict=True):
        assert share == pytest.approx(sum(error <= step for error in errors) / len(errors))


def test_every_case_counts_alike_in_a_curve() -> None:
    rows = [
        Row("m", "g", "a", "labyrinth", point_to_point_mm=0.1, points_below=shares_below([0.1] * 1000)),
        Row("m", "g", "b", "labyrinth", point_to_point_mm=0.3, points_below=shares_below([0.1, 0.5])),
        Row("m", "g", "c", "labyrinth"),
    ]
    curves = {curve.kind: curve for curve in error_curves(rows)}
    at = {step: place for place, step in enumerate(STEPS_MM)}
    points, cases = curves["points"], curves["cases"]
    assert points.cases == cases.cases == 2
    assert [points.shares[at[error]] for error in (0.05, 0.1, 0.45, 0.5)] == [0, 0.75, 0.75, 1]
    assert [cases.shares[at[error]] for error in (0.05, 0.1, 0.25, 0.3)] == [0, 0.5, 0.5, 1]
    assert "surface" not in curves


def test_what_is_missing_is_named() -> None:
    rows = [
        *rows_of("m", {"a": 0.9, "b": 0.8}),
        *rows_of("n", {"a": None}),
        Row("m", "all", "a", "modiolus", dice=0.5),
        Row("n", "all", "a", "modiolus", dice=0.5),
    ]
    lines = [str(item) for item in find_missing(rows)]
    assert lines == ["n: no labyrinth for case a (all)", "n: no result for case b (all)"]


def test_rows_are_written_without_loss() -> None:
    row = Row("m, of old", "g", "a", "labyrinth", dice=0.123456789, points_below=(0.0, 1.0))
    assert Row.from_json(row.to_json()) == row
    header, line, _ = rows_to_csv([row]).split("\r\n")
    assert header.startswith("method,group,case,structure,dice,point_to_point_mm,")
    assert line == '"m, of old",g,a,labyrinth,0.123457,,,,,,'
    with pytest.raises(InputError, match="cannot be read"):
        Row.from_json({"method": "m"})
    with pytest.raises(InputError, match="two rows of m"):
        check_rows([row, row])
    with pytest.raises(InputError, match="nothing to evaluate"):
        check_rows([])
