"""Mesh panels: the surfaces of one case, methods down and structures across.

Two pictures: `surfaces` shows each structure in its colour with the truth as grey glass over it, `errors` colours every
vertex that counts by its point-to-point error. Both are seen alike in all rows of a column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from PIL import Image

from model.evaluation.picture_style import INK, MUTED, house_style, save_picture
from model.evaluation.rows import Row
from model.meshes.mesh import FloatArray, SurfaceMesh
from model.outputs.shading import Canvas, View
from model.release.figures.charts import label_of
from model.release.figures.figures import Figures
from model.release.figures.grids import case_grid, voxel_axes_mm
from model.release.figures.layout import NO_DEFORMATION, TRUTH
from model.release.figures.measuring import same_vertices, vertex_errors_mm
from model.structures import LABYRINTH, STRUCTURES, Structure

PanelKind = Literal["surfaces", "errors"]

_WIDTH, _HEIGHT, _OVERSAMPLING = 450, 346, 2
_INCHES = (1.95, 1.62)
_WHITE, _PALE = (255, 255, 255), (225, 227, 231)
_GREY, _GREY_NAME = (105, 110, 118), "#696e76"
_COLOURS = "viridis"  # even in lightness, so that it is read without colour vision too
# Direction to the viewer and up, in L, P, S: the inner structures from the apex, the labyrinth from lateral.
_FROM_APEX, _FROM_LATERAL, _UP = (0.50, -0.86, 0.10), (1.0, -0.25, 0.25), (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class _Shown:
    """One surface in the picture, placed in L, P, S mm.

    Attributes:
        mesh: the surface, wound outward.
        errors_mm: (N,) error of every vertex, None where vertices do not correspond.
        row: its scores.
    """

    mesh: SurfaceMesh
    errors_mm: FloatArray | None
    row: Row | None


class PanelSet:
    """The surfaces of one case, read once for both pictures."""

    def __init__(self, figures: Figures, case: str) -> None:
        """Read the surfaces.

        Raises:
            InputError: a file cannot be read.
        """
        self.case = case
        self._active = figures.measuring.active
        self._truths: dict[str, SurfaceMesh] = {}
        self._shown: dict[tuple[str, str], _Shown] = {}
        rows = {(row.method, row.structure): row for row in figures.rows if row.case == case}
        measuring = figures.measuring
        for structure in STRUCTURES:
            axes_mm = voxel_axes_mm(case_grid(measuring.found, case, structure.id), measuring.options)
            truth = measuring.mesh(TRUTH, structure.id, case)
            if truth is not None:
                self._truths[structure.id] = _placed(truth, axes_mm)
            for method in measuring.methods:
                mesh = measuring.mesh(method, structure.id, case)
                if mesh is not None:
                    comparable = truth is not None and same_vertices(mesh, truth)
                    errors = vertex_errors_mm(mesh, truth, axes_mm) if comparable and truth is not None else None
                    row = rows.get((method, structure.id))
                    self._shown[method, structure.id] = _Shown(_placed(mesh, axes_mm), errors, row)
        self._methods = [name for name in figures.methods if any(owner == name for owner, _ in self._shown)]
        self._structures = [item for item in STRUCTURES if any(owned == item.id for _, owned in self._shown)]

    @property
    def kinds(self) -> tuple[PanelKind, ...]:
        """The pictures that can be drawn: none without surfaces, no errors without corresponding vertices."""
        if not self._shown:
            return ()
        measured = any(shown.errors_mm is not None for shown in self._shown.values())
        return ("surfaces", "errors") if measured else ("surfaces",)

    def draw(self, kind: PanelKind, paths: Sequence[Path]) -> None:
        """Draw one picture into files, whose suffix is the format; surfaces are pixels in SVG and PDF too."""
        top = self._largest_error()
        with house_style():
            size = (_INCHES[0] * len(self._structures) + 0.6, _INCHES[1] * len(self._methods) + 0.8)
            layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.06, wspace=0.0, hspace=0.0)
            figure = Figure(figsize=size, layout=layout)
            axes = figure.subplots(len(self._methods), len(self._structures), squeeze=False)
            for column, structure in enumerate(self._structures):
                view = self._view(structure)
                for at, method in enumerate(self._methods):
                    panel: Axes = axes[at, column]
                    self._draw_panel(panel, kind, method, structure, view, top)
                    if at == 0:
                        panel.set_title(structure.name, fontweight="bold")
                    if column == 0:
                        panel.set_ylabel(label_of(method), fontsize=9)
            if kind == "errors":
                scale = ScalarMappable(Normalize(0, top), matplotlib.colormaps[_COLOURS])
                bar = figure.colorbar(scale, ax=axes, location="bottom", shrink=0.5, aspect=45, extend="max", pad=0.01)
                bar.set_label(f"Point-to-point error (mm) in case {self.case}", fontsize=9)
                bar.outline.set_visible(False)
            else:
                handle = Line2D([], [], marker="o", linestyle="", color=_GREY_NAME, alpha=0.6)
                text = f"truth, over the result in colour (case {self.case})"
                figure.legend([handle], [text], loc="outside lower center", frameon=False, fontsize=9)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # settled once for all formats
            save_picture(figure, paths)

    def _draw_panel(
        self, panel: Axes, kind: PanelKind, method: str, structure: Structure, view: View, top: float
    ) -> None:
        """Draw one surface with its scores, or say why there is none."""
        panel.set_xticks([])
        panel.set_yticks([])
        for side in panel.spines.values():
            side.set_visible(False)
        shown = self._shown.get((method, structure.id))
        if shown is None:
            panel.set_aspect(_HEIGHT / _WIDTH)
            panel.text(
                0.5, 0.5, "no mesh", transform=panel.transAxes, color=MUTED, ha="center", va="center", fontsize=8
            )
            return
        canvas = Canvas(view, _WHITE)
        if kind == "surfaces":
            canvas.draw_solid(shown.mesh, structure.colour)
            if structure.id in self._truths:
                canvas.draw_glass(self._truths[structure.id], _GREY)
        elif shown.errors_mm is None:
            canvas.draw_solid(shown.mesh, _PALE)
        else:
            colours = _error_colours(shown.errors_mm, top)
            if structure.id in self._active:
                colours[~self._active[structure.id]] = _PALE
            canvas.draw_solid(shown.mesh, colours)
        picture = Image.fromarray(canvas.pixels()).resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
        panel.imshow(np.asarray(picture), interpolation="none")
        _write(panel, -0.03, _scores(shown, kind), color=INK)

    def _view(self, structure: Structure) -> View:
        """Give the view of a column, which shows all its surfaces whole."""
        meshes = [shown.mesh for (_, name), shown in self._shown.items() if name == structure.id]
        meshes += [self._truths[structure.id]] if structure.id in self._truths else []
        points = np.concatenate([mesh.vertices for mesh in meshes])
        viewer = _FROM_LATERAL if structure is LABYRINTH else _FROM_APEX
        return View.towards(viewer, _UP, points, _WIDTH * _OVERSAMPLING, _HEIGHT * _OVERSAMPLING, 0.03)

    def _largest_error(self) -> float:
        """Give the error in mm at the end of the colours: the 98th percentile of the methods', rounded up."""
        own = [item.errors_mm for (name, _), item in self._shown.items() if name != NO_DEFORMATION]
        every = [item.errors_mm for item in self._shown.values()]
        known = [errors for errors in own if errors is not None] or [errors for errors in every if errors is not None]
        if not known:
            return 1.0
        return max(math.ceil(float(np.percentile(np.concatenate(known), 98)) * 10 - 1e-9) / 10, 0.1)


def _write(panel: Axes, height: float, text: str, *, color: str) -> None:
    """Write a text into the middle of a panel, at a height in parts of it."""
    panel.text(0.5, height, text, transform=panel.transAxes, color=color, ha="center", va="center", fontsize=7.5)


def _placed(mesh: SurfaceMesh, axes_mm: FloatArray) -> SurfaceMesh:
    """Give a surface in L, P, S mm about the first voxel, wound outward.

    Without an affine the crop's own axes are taken, which run L, P, S.
    """
    to_lps = np.eye(4)
    own_axes = np.allclose(axes_mm, np.diag(np.diag(axes_mm))) and (np.diag(axes_mm) > 0).all()
    to_lps[:3, :3] = axes_mm if own_axes else np.diag([-1.0, -1.0, 1.0]) @ axes_mm
    moved = mesh.transformed(to_lps, "lps")
    return moved.flipped() if moved.signed_volume < 0 else moved


def _error_colours(errors_mm: FloatArray, top: float) -> npt.NDArray[np.uint8]:
    """Give the (N, 3) sRGB colours of errors."""
    colours = matplotlib.colormaps[_COLOURS](np.clip(errors_mm / top, 0, 1))
    return np.asarray(np.rint(255 * np.asarray(colours)[:, :3]), dtype=np.uint8)


def _scores(shown: _Shown, kind: PanelKind) -> str:
    """Give the scores of a panel in one line."""
    words = []
    if shown.row is not None and shown.row.dice is not None and kind == "surfaces":
        words.append(f"Dice {shown.row.dice:.2f}")
    if shown.row is not None and shown.row.point_to_point_median_mm is not None:
        words.append(f"median {shown.row.point_to_point_median_mm:.2f} mm")
    elif kind == "errors":
        words.append("vertices do not correspond")
    return "   ".join(words)
