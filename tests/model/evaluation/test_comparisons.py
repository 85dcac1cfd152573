"""Paired tests between methods."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata
from studies import rows_of

from model.errors import OptionError
from model.evaluation.comparisons import compare_methods, holm, signed_rank


def enumerated_p(differences: Sequence[float]) -> float:
    """Two-sided p by giving every difference either sign."""
    values = np.array([value for value in differences if value != 0])
    ranks = rankdata(np.abs(values))
    signs = np.array(list(itertools.product((0, 1), repeat=len(values))))
    sums, found = signs @ ranks, ranks[values > 0].sum()
    return min(1.0, 2 * min(float(np.mean(sums <= found + 1e-9)), float(np.mean(sums >= found - 1e-9))))


@given(differences=st.lists(st.integers(-9, 9), min_size=6, max_size=10))
@settings(max_examples=12, deadline=None)
def test_p_is_that_of_all_sign_flips(differences: list[int]) -> None:
    test = signed_rank(differences)
    if sum(value != 0 for value in differences) < 6:
        assert test.p is None
        assert "too few" in test.way
    else:
        assert test.way == "exact"
        assert test.p == pytest.approx(enumerated_p(differences))


def test_untied_differences_are_tested_exactly() -> None:
    # All of one sign: 2 of 2 ** 8 sign patterns are as extreme.
    assert signed_rank(np.linspace(0.1, 0.9, 8)).p == pytest.approx(2 / 2**8)
    differences = np.random.default_rng(1).normal(0.4, 1, 14)
    assert signed_rank(differences).p == pytest.approx(enumerated_p(differences.tolist()))
    assert signed_rank(-differences).p == pytest.approx(signed_rank(differences).p)


def test_many_differences_are_tested_by_the_normal_approximation() -> None:
    differences = np.random.default_rng(2).normal(0.2, 1, 80)
    ranks = rankdata(np.abs(differences))
    mean, variance = 80 * 81 / 4, 80 * 81 * 161 / 24
    z = (ranks[differences > 0].sum() - mean) / np.sqrt(variance)
    test = signed_rank(differences)
    assert test.way == "normal approximation"
    assert test.p == pytest.approx(2 * norm.sf(abs(z)))


def test_too_few_pairs_get_no_p() -> None:
    test = signed_rank([1, 2, 3, 4, 5])
    assert test.p is None
    assert test.way == "too few: 5 of at least 6 pairs"
    assert signed_rank([0.0] * 20).way == "too few: 0 of 20 pairs differ"
    assert signed_rank([]).p is None


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, then never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_pairs_are_made_by_case_and_corrected_together() -> None:
    cases = [f"c{number}" for number in range(8)]
    good = {case: 0.9 + 0.001 * number for number, case in enumerate(cases)}
    bad = {case: 0.8 - 0.002 * number for number, case in enumerate(reversed(cases))}
    some: dict[str, float | None] = {**dict.fromkeys(cases[:3], 0.85), cases[3]: None}
    rows = [*rows_of("good", good), *rows_of("bad", dict(reversed(bad.items()))), *rows_of("some", some)]
    found = {(item.first, item.second): item for item in compare_methods(rows)}
    best = found["good", "bad"]
    assert (best.pairs, best.unpaired, best.favours) == (8, 0, "good")
    assert best.median_difference == pytest.approx(np.median([good[case] - bad[case] for case in cases]))
    assert best.p == pytest.approx(2 / 2**8)
    assert best.p_holm == best.p  # the only test that could be made
    few = found["good", "some"]
    assert (few.pairs, few.unpaired, few.p, few.p_holm) == (3, 5, None, None)
    assert "too few" in few.way


def test_less_is_better_for_errors_and_a_reference_limits_the_tests() -> None:
    dice = [row for name in ("a", "b", "c") for row in rows_of(name, {"x": 0.5})]
    errors = [
        type(row)(row.method, row.group, row.case, row.structure, hausdorff95_mm={"a": 1.0, "b": 2.0, "c": 3.0}[name])
        for row in dice
        for name in (row.method,)
    ]
    found = compare_methods(errors, reference="b")
    assert [(item.first, item.second, item.favours) for item in found] == [("b", "a", "a"), ("b", "c", "b")]
    with pytest.raises(OptionError, match="no such method"):
        compare_methods(errors, reference="z")
