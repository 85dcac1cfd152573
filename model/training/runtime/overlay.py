"""One picture of a validation case: predicted and true outlines on three slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from model.meshes.mesh import SurfaceMesh
from model.outputs.contours import plane_segments
from model.structures import STRUCTURES

Shape = SurfaceMesh | npt.NDArray[Any]
"""A surface or (N, 3) points in voxels of the image, or a mask (I, J, K) on its grid (inside above one half)."""

_TRUE = (245, 245, 245)
_PANEL = 384


@dataclass(frozen=True)
class Overlay:
    """What is to be drawn.

    Attributes:
        image: (I, J, K) intensities in [-1, 1].
        predicted: shapes by structure, drawn in the colour of the structure.
        true: shapes by structure, drawn in white beneath them.
    """

    image: npt.NDArray[np.floating[Any]]
    predicted: Mapping[str, Shape]
    true: Mapping[str, Shape]


def draw_overlay(overlay: Overlay, path: Path) -> None:
    """Write the picture as PNG: the slices of constant k, j and i through the middle of the true shapes."""
    centre = _centre(overlay)
    panels = [_panel(overlay, axis, int(centre[axis])) for axis in (2, 1, 0)]
    page = Image.new("RGB", (_PANEL * len(panels), _PANEL))
    for number, panel in enumerate(panels):
        page.paste(panel, (number * _PANEL, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, format="PNG")


def _panel(overlay: Overlay, axis: int, position: int) -> Image.Image:
    """Draw one slice; the first remaining axis runs right, the second down, both by `scale` pixels a voxel."""
    section = np.take(overlay.image, position, axis=axis).T
    scale = _PANEL / max(section.shape)
    grey = Image.fromarray(np.rint(np.clip((section + 1) / 2, 0, 1) * 255).astype(np.uint8))
    size = (round(section.shape[1] * scale), round(section.shape[0] * scale))
    panel = Image.new("RGB", (_PANEL, _PANEL))
    panel.paste(grey.resize(size, Image.Resampling.BILINEAR).convert("RGB"), (0, 0))
    draw = ImageDraw.Draw(panel)
    colours = {structure.id: structure.colour for structure in STRUCTURES}
    for shape in overlay.true.values():
        _outline(draw, shape, axis, position, scale, _TRUE)
    for name, shape in overlay.predicted.items():
        _outline(draw, shape, axis, position, scale, colours.get(name, (255, 160, 0)))
    return panel


def _outline(
    draw: ImageDraw.ImageDraw, shape: Shape, axis: int, position: int, scale: float, colour: tuple[int, int, int]
) -> None:
    """Draw where a slice cuts a shape; of loose points those within half a voxel. Voxel x is centred at x + 0.5."""
    if isinstance(shape, SurfaceMesh):
        # Off the voxel centres, where a vertex may lie in the plane.
        lines = list((plane_segments(shape, axis, position + 1e-3) + 0.5) * scale)
    elif shape.ndim == 3:
        lines = [(line + 0.5) * scale for line in find_contours(np.take(shape, position, axis=axis).astype(float), 0.5)]
    else:
        near = np.delete(shape[np.abs(shape[:, axis] - position) <= 0.5], axis, axis=1)
        draw.point([tuple(point) for point in ((near + 0.5) * scale).tolist()], fill=colour)
        return
    for line in lines:
        draw.line([tuple(point) for point in line.tolist()], fill=colour, width=1)


def _centre(overlay: Overlay) -> npt.NDArray[np.int64]:
    """Give the voxel in the middle of the true shapes, or of the image when there are none."""
    middles = []
    for shape in overlay.true.values():
        points = shape.vertices if isinstance(shape, SurfaceMesh) else shape
        points = np.argwhere(points > 0.5) if points.ndim == 3 else points
        if len(points):
            middles.append((points.min(axis=0) + points.max(axis=0)) / 2)
    centre = np.mean(middles, axis=0) if middles else (np.array(overlay.image.shape) - 1) / 2
    return np.clip(np.rint(centre), 0, np.array(overlay.image.shape) - 1).astype(np.int64)
