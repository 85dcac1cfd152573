"""Box plots and error curves of the published results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from model.evaluation.box_plots import draw_boxes
from model.evaluation.curve_plots import draw_curves
from model.evaluation.folders import ONE_GROUP
from model.evaluation.rows import measure_by_id
from model.release.figures.figures import Figures
from model.release.figures.layout import KNOWN_METHODS, NO_DEFORMATION
from model.release.figures.measuring import DICE, POINTS
from model.release.figures.tables import significance

Drawing = tuple[str, Callable[[Sequence[Path]], None]]
"""Name of a picture, and what draws it into files."""


def label_of(method: str) -> str:
    """Give the name of a method in pictures."""
    return "No deformation" if method == NO_DEFORMATION else KNOWN_METHODS.get(method, method)


def charts(figures: Figures) -> list[Drawing]:
    """Give the pictures that there are values for: boxes of both measures, curves of vertices and of cases."""
    drawings: list[Drawing] = []
    rows = [replace(row, method=label_of(row.method)) for row in figures.rows]
    for measure_id in (DICE, POINTS):
        known = {row.method for row in rows if row.value(measure_id) is not None}
        if known:
            # An atlas has no masks, so it takes no line among Dice unless some were made for it.
            lacking = label_of(NO_DEFORMATION) not in known
            shown = [row for row in rows if not (lacking and row.method == label_of(NO_DEFORMATION))]
            draw = partial(
                draw_boxes,
                shown,
                measure_by_id(measure_id),
                notes=_notes(figures, measure_id),
                caption=_caption(figures),
            )
            drawings.append((f"boxes-{measure_id}", draw))
    names = [label_of(method) for method in figures.methods]
    for kind in ("points", "cases"):
        chosen = [replace(curve, method=label_of(curve.method)) for curve in figures.curves if curve.kind == kind]
        if chosen:
            name = "curves-vertices" if kind == "points" else "curves-cases"
            drawings.append((name, partial(draw_curves, chosen, names)))
    return drawings


def _notes(figures: Figures, measure: str) -> dict[tuple[str, str, str], str]:
    """Give, by group, structure and method, the number of cases where it is not all, and the mark of the test."""
    marks = {
        (item.structure, item.second): significance(item.p_holm)
        for item in figures.comparisons
        if item.measure == measure and item.first == figures.reference
    }
    notes = {}
    for item in figures.summaries:
        if item.measure == measure:
            fewer = f"n={item.cases}" if item.missing else ""
            words = (marks.get((item.structure, item.method), ""), fewer)
            notes[ONE_GROUP, item.structure, label_of(item.method)] = " ".join(word for word in words if word)
    return notes


def _caption(figures: Figures) -> str | None:
    """Say what the marks of the tests mean; None when there are none."""
    tested = any(item.p is not None for item in figures.comparisons)
    if figures.reference is None or not tested:
        return None
    return (
        f"Against {label_of(figures.reference)}: *** p < 0.001, ** p < 0.01, * p < 0.05, ns not significant"
        " (paired Wilcoxon signed-rank, Holm)"
    )
