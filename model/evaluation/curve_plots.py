"""Error curves: one line per method, one panel per group and structure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from model.evaluation.curves import STEPS_MM, Curve
from model.evaluation.picture_style import colour_of, house_style, line_of, panels, save_picture, say_unmeasured
from model.evaluation.rows import measure_by_id, ordered
from model.structures import STRUCTURE_IDS

_COUNTED = {"points": "of vertices", "surface": "of surface", "cases": "of cases"}
_SHOWN_UP_TO, _LEAST_MM, _WIDTH = 0.98, 0.5, 1.6


def draw_curves(curves: Sequence[Curve], methods: Sequence[str], paths: Sequence[Path]) -> None:
    """Draw the part within a given error over that error, at steps of 0.05 mm.

    The axis ends where every curve has reached 98 %, at 3 mm at the latest.

    Args:
        curves: curves of one kind and measure.
        methods: all methods of the study; a method has the same colour in every picture.
        paths: files to write; the suffix is the format.
    """
    names = ordered(curve.group for curve in curves)
    groups = {name: max(curve.cases for curve in curves if curve.group == name) for name in names}
    structures = ordered((curve.structure for curve in curves), STRUCTURE_IDS)
    measure = measure_by_id(curves[0].measure)
    counted = _COUNTED[curves[0].kind]
    label = {"points": "Point-to-point error (mm)", "surface": "Surface distance (mm)"}.get(
        curves[0].kind, measure.label
    )
    with house_style():
        figure, axes = panels(groups, structures, (2.25, 1.9), grid="both")
        for curve in curves:
            place = methods.index(curve.method)
            panel: Axes = axes[names.index(curve.group), structures.index(curve.structure)]
            panel.plot(
                STEPS_MM,
                curve.shares,
                color=colour_of(place),
                linestyle=line_of(place),
                linewidth=_WIDTH,
                drawstyle="steps-post" if curve.kind == "cases" else "default",
            )
        for group, structure in itertools.product(names, structures):
            if not any((curve.group, curve.structure) == (group, structure) for curve in curves):
                say_unmeasured(axes[names.index(group), structures.index(structure)])
        first: Axes = axes[0, 0]
        first.set_xlim(0, _end(curves))
        first.set_ylim(0, 1.02)
        first.yaxis.set_major_formatter(PercentFormatter(1.0))
        lines = [
            Line2D([], [], color=colour_of(place), linestyle=line_of(place), linewidth=_WIDTH, label=method)
            for place, method in enumerate(methods)
            if any(curve.method == method for curve in curves)
        ]
        figure.legend(handles=lines, loc="outside right upper", frameon=False, handlelength=1.8)
        figure.supxlabel(label, fontsize=9)
        figure.supylabel(f"Part {counted} within", fontsize=9)
        save_picture(figure, paths)


def _end(curves: Sequence[Curve]) -> float:
    """Give the error at which every curve has reached nearly all."""
    shares = np.array([curve.shares for curve in curves])
    enough = np.flatnonzero((shares >= _SHOWN_UP_TO).all(axis=0))
    return max(STEPS_MM[enough[0]] if len(enough) else STEPS_MM[-1], _LEAST_MM)
