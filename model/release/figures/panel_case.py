"""Which cases the mesh panels show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.errors import OptionError
from model.evaluation.rows import Row
from model.release.figures.measuring import DICE, POINTS

PUBLISHED_CASE = "PID_3055_PLANID_2567_RIGHT"
"""The case of the published mesh panels."""


def check_panel_cases(wanted: Sequence[str] | None, cases: Sequence[str]) -> None:
    """Refuse wanted cases that are not there.

    Raises:
        OptionError: names them.
    """
    unknown = [case for case in wanted or () if case not in cases]
    if unknown:
        raise OptionError("there is no such case to show", expected="cases that are measured", found=", ".join(unknown))


def panel_cases(rows: Sequence[Row], method: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Give the cases to show: the wanted ones, or the published one where it is, or else the middle one.

    The middle case has the median of a method's median point-to-point errors, averaged over structures; the lower of
    two. Dice stands in where there are no such errors.

    Args:
        rows: rows of all cases, at least one.
        method: whose errors say which case is in the middle.
        wanted: cases to show, which must be there.
    """
    if wanted is not None:
        return tuple(dict.fromkeys(wanted))
    if any(row.case == PUBLISHED_CASE for row in rows):
        return (PUBLISHED_CASE,)
    for measure in (POINTS, DICE):
        values: dict[str, list[float]] = {}
        for row in rows:
            value = row.value(measure)
            if row.method == method and value is not None:
                values.setdefault(row.case, []).append(value)
        if values:
            ranked = sorted(values, key=lambda case: (float(np.mean(values[case])), case))
            return (ranked[(len(ranked) - 1) // 2],)
    return (rows[0].case,)
