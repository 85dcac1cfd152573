"""How pictures of studies look: one colour per method, small multiples of groups by structures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from model.structures import structure_by_id

PALETTE: tuple[str, ...] = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#6B4C9A",
    "#555555",
)
"""Colours that people with colour blindness tell apart (after Okabe and Ito 2008)."""

LineStyle = Literal["-", "--", ":", "-."]

LINES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
"""Line styles, one after the other when the colours are used up."""

INK, MUTED, RULE = "#1a1c20", "#666b75", "#e3e5e9"

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are alike everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "svg.hashsalt": "cochlear",
}
_DPI = 200


def colour_of(index: int) -> str:
    """Give the colour of the method at a place of the order."""
    return PALETTE[index % len(PALETTE)]


def line_of(index: int) -> LineStyle:
    """Give the line style of the method at a place of the order."""
    return LINES[index // len(PALETTE) % len(LINES)]


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style while the block runs, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def panels(
    groups: Mapping[str, int],
    structures: Sequence[str],
    panel_inches: tuple[float, float],
    *,
    grid: Literal["x", "both"],
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Give a figure with one panel per group (down) and structure (across), all on the same scales.

    Args:
        groups: number of cases by name of the group.
        structures: structure ids.
        panel_inches: width and height of a panel.
        grid: along which axes there are lines at the ticks.
    """
    width, height = panel_inches
    size = (width * len(structures) + 1.6, height * len(groups) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(groups), len(structures), squeeze=False, sharex="all", sharey="all")
    for row, (group, cases) in enumerate(groups.items()):
        for column, structure in enumerate(structures):
            panel: Axes = axes[row, column]
            panel.grid(axis=grid)
            panel.tick_params(length=0)
            if row == 0:
                panel.set_title(structure_by_id(structure).name, fontweight="bold", loc="left")
        count = f"{cases} case" if cases == 1 else f"{cases} cases"
        name = f"{group.replace('_', ' ')}\n{count}" if len(groups) > 1 else count
        axes[row, 0].set_ylabel(name, labelpad=8)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    return figure, np.asarray(axes, dtype=np.object_)


def say_unmeasured(panel: Axes) -> None:
    """Write into a panel that there is nothing to show."""
    panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, color=MUTED, fontsize=8, ha="center", va="center")


def save_picture(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to files, without dates, so that the same study gives the same files."""
    for path in paths:
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:], {})
        figure.savefig(path, dpi=_DPI, facecolor="white", metadata=metadata)
