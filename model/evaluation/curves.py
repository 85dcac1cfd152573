"""Error curves: which part of the vertices, surface or cases lies within a given error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.evaluation.rows import Row, ordered
from model.structures import STRUCTURE_IDS

STEPS_MM: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(61))
"""The errors at which curves are told: 0 to 3 mm."""

CurveKind = Literal["points", "surface", "cases"]


@dataclass(frozen=True)
class Curve:
    """One error curve.

    Attributes:
        kind: `points`: vertices by point-to-point error; `surface`: surface by distance; `cases`: cases by the measure.
        measure: id of the measure whose errors are counted.
        method: name of the method.
        group: group of the cases.
        structure: structure id.
        cases: number of cases it is made of.
        shares: part within each of `STEPS_MM`, 0 to 1. Of vertices and surface: the mean over cases, each counting the
            same however many vertices it has.
    """

    kind: CurveKind
    measure: str
    method: str
    group: str
    structure: str
    cases: int
    shares: tuple[float, ...]


def shares_below(errors_mm: npt.ArrayLike) -> tuple[float, ...]:
    """Give the part of errors that is at most each of `STEPS_MM`.

    Args:
        errors_mm: (N,) errors in mm, N at least 1.
    """
    errors = np.sort(np.asarray(errors_mm, dtype=np.float64))
    counts = np.searchsorted(errors, STEPS_MM, side="right")
    return tuple(float(count) / len(errors) for count in counts)


CASE_MEASURES: tuple[str, ...] = ("point_to_point_mm", "surface_mean_mm", "hausdorff95_mm")
"""Measures by which cases are counted, unless others are asked for."""


def error_curves(rows: Sequence[Row], case_measures: Sequence[str] = CASE_MEASURES) -> list[Curve]:
    """Give all curves that the rows have values for, by kind, group, structure and method.

    Args:
        rows: rows of a study.
        case_measures: ids of the measures in mm by which cases are counted.
    """
    curves = []
    for group in ordered(row.group for row in rows):
        for structure in ordered((row.structure for row in rows), STRUCTURE_IDS):
            for method in ordered(row.method for row in rows):
                chosen = [row for row in rows if (row.group, row.structure, row.method) == (group, structure, method)]
                curves += [
                    Curve(kind, measure, method, group, structure, count, shares)
                    for kind, measure, count, shares in _curves_of(chosen, case_measures)
                ]
    return curves


def _curves_of(
    rows: Sequence[Row], case_measures: Sequence[str]
) -> list[tuple[CurveKind, str, int, tuple[float, ...]]]:
    """Give kind, measure, number of cases and shares of the curves of one method, group and structure."""
    found: list[tuple[CurveKind, str, int, tuple[float, ...]]] = []
    points = [row.points_below for row in rows if row.points_below is not None]
    if points:
        found.append(("points", "point_to_point_mm", len(points), _mean(points)))
    surface = [row.surface_below for row in rows if row.surface_below is not None]
    if surface:
        found.append(("surface", "surface_mean_mm", len(surface), _mean(surface)))
    for measure in case_measures:
        values = [value for row in rows if (value := row.value(measure)) is not None]
        if values:
            found.append(("cases", measure, len(values), shares_below(values)))
    return found


def _mean(curves: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Give the mean of curves, step by step."""
    return tuple(float(value) for value in np.mean(curves, axis=0))
