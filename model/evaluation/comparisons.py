"""Comparing methods on the same cases: paired Wilcoxon signed-rank tests, corrected for their number."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import PermutationMethod, wilcoxon

from model.errors import OptionError
from model.evaluation.rows import MEASURES, Measure, Row, ordered
from model.evaluation.statistics import MIN_CASES
from model.structures import STRUCTURE_IDS

_DECIMALS = 12  # differences closer than this are ties, not rounding errors
_MOST_EXACT, _MOST_EXACT_TIED = 50, 13


@dataclass(frozen=True)
class SignedRank:
    """Outcome of a signed-rank test.

    Attributes:
        p: two-sided p-value, or None when there are too few pairs that differ.
        way: `exact`, `normal approximation`, or why there is no p.
    """

    p: float | None
    way: str


@dataclass(frozen=True)
class Comparison:
    """Two methods on the cases that both have a value for.

    Attributes:
        measure: id of the measure.
        group: group of the cases.
        structure: structure id.
        first: name of a method.
        second: name of the other method.
        pairs: number of cases with a value of both.
        unpaired: number of cases with a value of one only, which play no part.
        median_difference: median of first minus second, None without pairs.
        favours: the method that this difference speaks for, None for no difference.
        p: two-sided p-value of the signed-rank test, or None.
        p_holm: p corrected for all tests of this measure and group, or None.
        way: how p was found, or why there is none.
    """

    measure: str
    group: str
    structure: str
    first: str
    second: str
    pairs: int
    unpaired: int
    median_difference: float | None
    favours: str | None
    p: float | None
    p_holm: float | None
    way: str


def signed_rank(differences: npt.ArrayLike) -> SignedRank:
    """Run the two-sided Wilcoxon signed-rank test on paired differences.

    Differences of zero are left out (Wilcoxon 1945). The null distribution is exact for up to 50 differences, or 13
    when some are tied, and the normal approximation with tie correction beyond.

    Args:
        differences: (N,) first minus second of every pair.

    Returns:
        The p-value; None when fewer than `MIN_CASES` pairs differ, which could not reach 0.05 whatever they said.
    """
    rounded = np.round(np.asarray(differences, dtype=np.float64), _DECIMALS)
    differing = rounded[rounded != 0]
    count = len(differing)
    if len(rounded) < MIN_CASES:
        return SignedRank(None, f"too few: {len(rounded)} of at least {MIN_CASES} pairs")
    if count < MIN_CASES:
        return SignedRank(None, f"too few: {count} of {len(rounded)} pairs differ")
    tied = len(np.unique(np.abs(differing))) < count
    if not tied and count <= _MOST_EXACT:
        return SignedRank(float(wilcoxon(differing, method="exact").pvalue), "exact")
    if tied and count <= _MOST_EXACT_TIED:
        enumerated = PermutationMethod(n_resamples=np.inf)
        return SignedRank(float(wilcoxon(differing, method=enumerated).pvalue), "exact")
    return SignedRank(float(wilcoxon(differing, method="asymptotic").pvalue), "normal approximation")


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by the step-down method of Holm (1979).

    Returns:
        Corrected values in the order given, at most 1.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def compare_methods(
    rows: Sequence[Row], reference: str | None = None, measures: Sequence[Measure] = MEASURES
) -> list[Comparison]:
    """Compare methods pair by pair on every measure, group and structure.

    Args:
        rows: rows of a study.
        reference: compare only with this method, which then is `first`; None compares all with all.
        measures: on which to compare; those that are not `compared` are left out.

    Raises:
        OptionError: when there is no method named `reference`.
    """
    methods = ordered(row.method for row in rows)
    if reference is not None and reference not in methods:
        raise OptionError(
            "there is no such method to compare with", expected=f"one of {', '.join(methods)}", found=reference
        )
    pairs = list(itertools.combinations(methods, 2))
    if reference is not None:
        pairs = [(reference, other) for other in methods if other != reference]
    comparisons: list[Comparison] = []
    for measure in (measure for measure in measures if measure.compared):
        for group in ordered(row.group for row in rows):
            family = []
            for structure in ordered((row.structure for row in rows), STRUCTURE_IDS):
                values = _values(rows, measure.id, group, structure)
                for first, second in pairs:
                    if first in values and second in values:
                        one, other = values[first], values[second]
                        family.append(_compare(measure, (group, structure), (first, second), one, other))
            comparisons += _corrected(family)
    return comparisons


def _values(rows: Sequence[Row], measure: str, group: str, structure: str) -> dict[str, dict[str, float]]:
    """Give the known values by method and case."""
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        value = row.value(measure)
        if row.group == group and row.structure == structure and value is not None:
            values.setdefault(row.method, {})[row.case] = value
    return values


def _compare(
    measure: Measure,
    place: tuple[str, str],
    names: tuple[str, str],
    first: Mapping[str, float],
    second: Mapping[str, float],
) -> Comparison:
    """Compare the values of two methods by case."""
    common = sorted(first.keys() & second.keys())
    differences = np.array([first[case] - second[case] for case in common])
    middle = float(np.median(differences)) if common else None
    favours = None
    if middle:
        favours = names[0] if (middle > 0) == measure.higher_is_better else names[1]
    test = signed_rank(differences)
    return Comparison(
        measure=measure.id,
        group=place[0],
        structure=place[1],
        first=names[0],
        second=names[1],
        pairs=len(common),
        unpaired=len(first.keys() ^ second.keys()),
        median_difference=middle,
        favours=favours,
        p=test.p,
        p_holm=None,
        way=test.way,
    )


def _corrected(family: Sequence[Comparison]) -> list[Comparison]:
    """Fill in the corrected p-values of the tests that were made."""
    corrected = iter(holm([test.p for test in family if test.p is not None]))
    return [test if test.p is None else replace(test, p_holm=next(corrected)) for test in family]
