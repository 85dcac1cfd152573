"""Box plots of a measure: methods down, one panel per group and structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from model.evaluation.picture_style import INK, MUTED, colour_of, house_style, panels, save_picture, say_unmeasured
from model.evaluation.rows import Measure, Row, ordered
from model.structures import STRUCTURE_IDS

_BOX_HEIGHT, _SPREAD = 0.58, 0.17
_FEWEST_FOR_BOX = 5


def draw_boxes(
    rows: Sequence[Row],
    measure: Measure,
    paths: Sequence[Path],
    *,
    notes: Mapping[tuple[str, str, str], str] | None = None,
    caption: str | None = None,
) -> None:
    """Draw the values of all cases with a box each: median, quartiles, whiskers to 1.5 times their distance.

    Every case is a dot as well. Fewer than five cases get dots and the median only. Methods without values keep their
    line, so that it is seen that they have none.

    Args:
        rows: rows of a study with at least one value of the measure.
        measure: what to draw.
        paths: files to write; the suffix is the format.
        notes: short texts beside the panels by group, structure and method.
        caption: what the notes mean; stands below the axes.
    """
    remarks = {} if notes is None else notes
    known = [row for row in rows if row.value(measure.id) is not None]
    groups = {
        group: len({row.case for row in known if row.group == group}) for group in ordered(row.group for row in known)
    }
    structures = ordered((row.structure for row in known), STRUCTURE_IDS)
    methods = ordered(row.method for row in rows)
    with house_style():
        height = 0.34 * len(methods) + 0.35
        figure, axes = panels(groups, structures, (2.25, height), grid="x")
        for at_row, group in enumerate(groups):
            for column, structure in enumerate(structures):
                panel: Axes = axes[at_row, column]
                here = [row for row in known if row.group == group and row.structure == structure]
                if not here:
                    say_unmeasured(panel)
                    continue
                for place, method in enumerate(methods):
                    values = [row.value(measure.id) for row in here if row.method == method]
                    _draw_method(panel, place, np.array(values, dtype=np.float64))
                    _note(panel, place, remarks.get((group, structure, method), ""))
        first: Axes = axes[0, 0]
        first.set_ylim(len(methods) - 0.45, -0.55)  # the first method on top
        first.set_yticks(range(len(methods)), methods)
        figure.supxlabel(measure.label if caption is None else f"{measure.label}\n{caption}", fontsize=9)
        save_picture(figure, paths)


def _note(panel: Axes, place: int, text: str) -> None:
    """Write a text to the right of the line of a method."""
    if text:
        across = panel.get_yaxis_transform()
        panel.text(1.015, place, text, transform=across, color=MUTED, fontsize=7, va="center", ha="left")


def _draw_method(panel: Axes, place: int, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Draw the cases of one method at its line."""
    if not len(values):
        panel.text(0.02, place, "none", transform=panel.get_yaxis_transform(), color=MUTED, fontsize=8, va="center")
        return
    colour = colour_of(place)
    if len(values) < _FEWEST_FOR_BOX:
        middle = float(np.median(values))
        panel.plot([middle, middle], [place - 0.25, place + 0.25], color=INK, linewidth=1.6, zorder=3)
        panel.scatter(values, np.full(len(values), place), s=22, color=colour, linewidths=0, zorder=4)
        return
    # Dots spread up and down in the order of the golden ratio: even, and the same each time.
    offsets = (np.mod(np.arange(len(values)) * 0.6180339887, 1.0) - 0.5) * 2 * _SPREAD
    panel.scatter(np.sort(values), place + offsets, s=9, color=colour, alpha=0.55, linewidths=0, zorder=3)
    panel.boxplot(
        [values],
        positions=[place],
        widths=_BOX_HEIGHT,
        orientation="horizontal",
        showfliers=False,  # every case is a dot already
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": f"{colour}2e", "edgecolor": colour, "linewidth": 1.0},
        whiskerprops={"color": colour, "linewidth": 1.0},
        capprops={"color": colour, "linewidth": 1.0},
        medianprops={"color": INK, "linewidth": 1.6},
    )
