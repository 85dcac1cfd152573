"""What many cases say together: medians, means and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap

from model.evaluation.rows import MEASURES, Row, ordered
from model.structures import STRUCTURE_IDS

MIN_CASES = 6
"""Fewer cases get neither confidence intervals nor tests: six pairs are the fewest that can reach p < 0.05."""

_RESAMPLES = 2_000
_CONFIDENCE = 0.95

Statistic = Literal["median", "mean"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """One measure over the cases of a group.

    Attributes:
        measure: id of the measure.
        method: name of the method.
        group: group of the cases.
        structure: structure id.
        cases: number of cases with a value; only these count.
        missing: number of cases of the group with this structure for which the method has no value.
        mean: arithmetic mean.
        mean_interval: its 95 % bootstrap interval, None for fewer than `MIN_CASES` cases.
        median: the median.
        median_interval: its 95 % bootstrap interval, None for fewer than `MIN_CASES` cases.
        quartiles: 25th and 75th percentile (linear interpolation).
        minimum: smallest value.
        maximum: largest value.
    """

    measure: str
    method: str
    group: str
    structure: str
    cases: int
    missing: int
    mean: float
    mean_interval: Interval | None
    median: float
    median_interval: Interval | None
    quartiles: Interval
    minimum: float
    maximum: float


def bootstrap_interval(values: npt.ArrayLike, statistic: Statistic, seed: int = 0) -> Interval | None:
    """Give the 95 % percentile interval of a bootstrap (Efron 1979) of 2,000 resamples.

    Args:
        values: (N,) one value per case, in any order.
        statistic: what the interval is for.
        seed: makes the resamples.

    Returns:
        Lower and upper limit, or None for fewer than `MIN_CASES` values.
    """
    data = np.sort(np.asarray(values, dtype=np.float64))
    if len(data) < MIN_CASES:
        return None
    if data[0] == data[-1]:
        return float(data[0]), float(data[0])
    result = bootstrap(
        (data,),
        np.median if statistic == "median" else np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=_CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def summarise(rows: Sequence[Row], seed: int = 0) -> list[Summary]:
    """Summarise every measure by group, structure and method, leaving out what has no value.

    Args:
        rows: rows of a study.
        seed: of the bootstrap.
    """
    summaries = []
    for group in ordered(row.group for row in rows):
        for structure in ordered((row.structure for row in rows), STRUCTURE_IDS):
            here = [row for row in rows if row.group == group and row.structure == structure]
            cases = len({row.case for row in here})
            for method in ordered(row.method for row in rows):
                chosen = [row for row in here if row.method == method]
                for measure in MEASURES:
                    values = [value for row in chosen if (value := row.value(measure.id)) is not None]
                    if values:
                        missing = cases - len(values)
                        summaries.append(_summary(measure.id, method, group, structure, values, missing, seed))
    return summaries


def _summary(
    measure: str, method: str, group: str, structure: str, values: Sequence[float], missing: int, seed: int
) -> Summary:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return Summary(
        measure=measure,
        method=method,
        group=group,
        structure=structure,
        cases=len(values),
        missing=missing,
        mean=float(np.mean(values)),
        mean_interval=bootstrap_interval(values, "mean", seed),
        median=float(middle),
        median_interval=bootstrap_interval(values, "median", seed),
        quartiles=(float(low), float(high)),
        minimum=min(values),
        maximum=max(values),
    )
