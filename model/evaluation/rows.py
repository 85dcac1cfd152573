"""The rows of a study: what is known of one structure of one case by one method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from model.errors import InputError
from model.evaluation.csv_text import csv_text


@dataclass(frozen=True)
class Measure:
    """A figure of merit.

    Attributes:
        id: name of the attribute of `Row` and of the column in files.
        name: name for people.
        short: the same where room is scarce.
        unit: `mm`, or empty for a share or ratio.
        higher_is_better: whether a larger value is the better one.
        compared: whether methods are tested against each other on it.
        decimals: decimals worth printing.
    """

    id: str
    name: str
    short: str
    unit: str
    higher_is_better: bool = False
    compared: bool = True
    decimals: int = 3

    @property
    def label(self) -> str:
        """Name with unit, for axes and headings."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


MEASURES: tuple[Measure, ...] = (
    Measure("dice", "Dice", "Dice", "", higher_is_better=True),
    Measure("point_to_point_mm", "Mean point-to-point error", "P2P", "mm"),
    Measure("point_to_point_median_mm", "Median point-to-point error", "P2P median", "mm"),
    Measure("surface_mean_mm", "Average surface distance", "ASD", "mm"),
    Measure("hausdorff95_mm", "95 % Hausdorff distance", "HD95", "mm"),
    Measure("folds", "Folded share", "folds", "", compared=False, decimals=5),
    Measure("jacobian_minimum", "Smallest Jacobian", "min det J", "", higher_is_better=True, compared=False),
)
"""All measures, in the order of tables."""

MEASURE_IDS: tuple[str, ...] = tuple(measure.id for measure in MEASURES)


def measure_by_id(measure_id: str) -> Measure:
    """Give the measure of an id.

    Raises:
        KeyError: when there is no such measure.
    """
    for measure in MEASURES:
        if measure.id == measure_id:
            return measure
    raise KeyError(measure_id)


@dataclass(frozen=True)
class Row:
    """One structure of one case by one method. What is not known is None, never zero.

    Attributes:
        method: name of the method.
        group: the set of cases it counts in, such as `with_metal`.
        case: name of the case, unique in its group.
        structure: structure id.
        dice: Dice coefficient of the masks.
        point_to_point_mm: mean over the vertices of the distance to where they should be, when vertices correspond.
        point_to_point_median_mm: the median of the same distances.
        surface_mean_mm: average symmetric surface distance.
        hausdorff95_mm: 95th percentile of the surface distances, the larger of both directions.
        folds: share of the grid cells around the structure where the field turns space inside out, 0 to 1.
        jacobian_minimum: smallest Jacobian determinant there.
        points_below: share of the vertices whose error is at most each of `curves.STEPS_MM`.
        surface_below: share of the surface at most each of `curves.STEPS_MM` away, mean of both directions.
    """

    method: str
    group: str
    case: str
    structure: str
    dice: float | None = None
    point_to_point_mm: float | None = None
    point_to_point_median_mm: float | None = None
    surface_mean_mm: float | None = None
    hausdorff95_mm: float | None = None
    folds: float | None = None
    jacobian_minimum: float | None = None
    points_below: tuple[float, ...] | None = None
    surface_below: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse values that are not finite: what is unknown must be None."""
        for measure in MEASURES:
            value = self.value(measure.id)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{measure.id} of {self.name}: expected a finite number or None, found {value}")

    @property
    def name(self) -> str:
        """What the row is about, for messages."""
        return f"{self.method}, {self.group}, {self.case}, {self.structure}"

    @property
    def empty(self) -> bool:
        """Whether nothing at all is known."""
        return all(self.value(measure.id) is None for measure in MEASURES)

    def value(self, measure_id: str) -> float | None:
        """Give a measure by its id, or None when it is not known."""
        value: float | None = getattr(self, measure_id)
        return value

    def to_json(self) -> dict[str, Any]:
        """Give all attributes as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Row:
        """Make a row from what `to_json` gave.

        Raises:
            InputError: an attribute is missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if set(document) != names:
            odd = ", ".join(sorted(set(document) ^ names))
            raise InputError("a row of a study cannot be read", expected=", ".join(sorted(names)), found=f"odd: {odd}")
        curves = {name: document[name] for name in ("points_below", "surface_below")}
        settled = {name: None if curve is None else tuple(curve) for name, curve in curves.items()}
        return cls(**{**document, **settled})


def check_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Give the rows as a tuple.

    Raises:
        InputError: there are none, or two about the same method, group, case and structure.
    """
    settled = tuple(rows)
    if not settled:
        raise InputError("there is nothing to evaluate", expected="at least one row", found="none")
    seen: set[str] = set()
    for row in settled:
        if row.name in seen:
            raise InputError(f"there are two rows of {row.name}", expected="one", hint="give the sets different groups")
        seen.add(row.name)
    return settled


def ordered(values: Iterable[str], first: Sequence[str] = ()) -> tuple[str, ...]:
    """Give distinct names: those of `first` in its order, then the others in order of appearance."""
    distinct = dict.fromkeys(values)
    return (*(name for name in first if name in distinct), *(name for name in distinct if name not in first))


def rows_to_csv(rows: Sequence[Row]) -> str:
    """Give the rows as CSV (RFC 4180) with a header: identity, then every measure, empty where it is not known."""
    return csv_text(
        ["method", "group", "case", "structure", *MEASURE_IDS],
        (
            [row.method, row.group, row.case, row.structure, *(row.value(measure_id) for measure_id in MEASURE_IDS)]
            for row in rows
        ),
    )
