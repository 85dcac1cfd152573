"""One picture of a result: three slices with the outlines of the structures, and the structures from two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from model.meshes.mesh import FloatArray, SurfaceMesh
from model.outputs.contours import plane_segments
from model.outputs.shading import Canvas, View
from model.structures import LABYRINTH, STRUCTURES

_SLICE, _GAP, _HEADER, _FOOTER = 470, 12, 76, 54
_VIEW_WIDTH, _VIEW_HEIGHT = 711, 520
_OVERSAMPLING = 2
_BACKGROUND, _PANEL, _TEXT, _MUTED = (18, 20, 24), (28, 31, 37), (236, 238, 242), (150, 156, 166)
_MARGIN_VOXELS = 8

# Constant axis, the axes that run right and down in the picture, whether down is towards higher indices, name, letters.
_PLANES: tuple[tuple[int, int, int, bool, str, tuple[str, str, str, str]], ...] = (
    (2, 0, 1, True, "axial", ("medial", "lateral", "anterior", "posterior")),
    (1, 0, 2, False, "coronal", ("medial", "lateral", "superior", "inferior")),
    (0, 1, 2, False, "sagittal", ("anterior", "posterior", "superior", "inferior")),
)
# Name, direction to the viewer and up, in L, P, S of a left ear. The second looks down the modiolus from the apex.
_VIEWS: tuple[tuple[str, tuple[float, float, float], tuple[float, float, float]], ...] = (
    ("from lateral", (1.0, -0.25, 0.25), (0.0, 0.0, 1.0)),
    ("along the modiolus, from the apex", (0.50, -0.86, 0.10), (0.0, 0.0, 1.0)),
)


def draw_preview(
    image: npt.NDArray[np.float32],
    meshes_ijk: Mapping[str, SurfaceMesh],
    path: Path,
    *,
    title: str,
    subtitle: str,
    footer: str,
) -> None:
    """Draw the picture of a result in the canonical frame and write it as PNG.

    Args:
        image: float32 [i, j, k] canonical image; its grey window is taken from what lies around the structures.
        meshes_ijk: surfaces by structure id, in voxels of `image`; when there are none, the middle of the image is
            shown.
        path: PNG file to write.
        title: first line of the header.
        subtitle: second line of the header.
        footer: last line of the picture.
    """
    width = 3 * _SLICE + 4 * _GAP
    height = _HEADER + _SLICE + _VIEW_HEIGHT + 2 * _GAP + _FOOTER
    page = Image.new("RGB", (width, height), _BACKGROUND)
    anchor = _anchor(image, meshes_ijk)
    inner = [mesh.vertices for name, mesh in meshes_ijk.items() if name != LABYRINTH.id]
    centre = np.concatenate(inner or [anchor]).mean(axis=0)  # where the slices have most to show
    window = _window(image, anchor)
    half = float(np.ptp(anchor, axis=0).max() / 2 + _MARGIN_VOXELS)
    middle = (anchor.min(axis=0) + anchor.max(axis=0)) / 2
    for column, plane in enumerate(_PLANES):
        panel = _slice_panel(image, meshes_ijk, plane, round(float(centre[plane[0]])), middle, half, window)
        page.paste(panel, (_GAP + column * (_SLICE + _GAP), _HEADER))
    for column, (name, viewer, up) in enumerate(_VIEWS):
        panel = _view_panel(meshes_ijk, name, viewer, up)
        page.paste(panel, (_GAP + column * (_VIEW_WIDTH + _GAP), _HEADER + _SLICE + _GAP))
    _write_texts(page, meshes_ijk, title, subtitle, footer)
    page.save(path, format="PNG")


def _anchor(image: npt.NDArray[np.float32], meshes_ijk: Mapping[str, SurfaceMesh]) -> FloatArray:
    """Give the (N, 3) points that the picture is about: of the labyrinth, another structure, or the image's corners."""
    if not meshes_ijk:
        return np.array([[0.0, 0.0, 0.0], np.array(image.shape) - 1.0])
    return (meshes_ijk.get(LABYRINTH.id) or next(iter(meshes_ijk.values()))).vertices


def _window(image: npt.NDArray[np.float32], points: FloatArray) -> tuple[float, float]:
    """Give the grey values of black and white: the 1st and 99.5th percentile around points."""
    low = np.clip(np.floor(points.min(axis=0)) - _MARGIN_VOXELS, 0, np.array(image.shape) - 1).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + _MARGIN_VOXELS, low + 1, image.shape).astype(int)
    values = image[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    black, white = np.percentile(values, [1.0, 99.5])
    return float(black), float(max(white, black + 1e-6))


def _slice_panel(
    image: npt.NDArray[np.float32],
    meshes_ijk: Mapping[str, SurfaceMesh],
    plane: tuple[int, int, int, bool, str, tuple[str, str, str, str]],
    position: int,
    middle: FloatArray,
    half: float,
    window: tuple[float, float],
) -> Image.Image:
    """Draw one slice, `half` voxels to each side of `middle`, with the outlines of all structures."""
    axis, across, down, downwards, name, letters = plane
    size = _SLICE * _OVERSAMPLING
    scale = size / (2 * half)
    position = int(np.clip(position, 0, image.shape[axis] - 1))
    section = np.take(image, position, axis=axis).T  # rows follow `down`, columns follow `across`
    grey = np.clip((section - window[0]) / (window[1] - window[0]), 0, 1)
    picture = Image.fromarray(np.rint(255 * grey).astype(np.uint8))
    # The centre of voxel x lies at x + 0.5 in the picture's own coordinates.
    box_left, box_top = middle[across] - half + 0.5, middle[down] - half + 0.5
    step = 2 * half / size
    panel = picture.transform(
        (size, size), Image.Transform.AFFINE, (step, 0, box_left, 0, step, box_top), Image.Resampling.BICUBIC
    ).convert("RGB")
    draw = ImageDraw.Draw(panel)
    for structure in reversed(STRUCTURES):
        if structure.id in meshes_ijk:
            segments = plane_segments(meshes_ijk[structure.id], axis, position + 1e-3)
            at = (segments - [middle[across] - half, middle[down] - half]) * scale
            for start, end in at.tolist():
                draw.line([tuple(start), tuple(end)], fill=structure.colour, width=2 * _OVERSAMPLING)
    if not downwards:
        panel = panel.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    panel = panel.resize((_SLICE, _SLICE), Image.Resampling.LANCZOS)
    _label_panel(panel, name, letters)
    return panel


def _view_panel(
    meshes_ijk: Mapping[str, SurfaceMesh], name: str, viewer: Sequence[float], up: Sequence[float]
) -> Image.Image:
    """Draw the structures in three dimensions; the labyrinth is glass when others lie in it."""
    if not meshes_ijk:
        panel = Image.new("RGB", (_VIEW_WIDTH, _VIEW_HEIGHT), _PANEL)
        ImageDraw.Draw(panel).text((12, 10), "no structure was found", fill=_TEXT, font=_font(17))
        return panel
    points = np.concatenate([mesh.vertices for mesh in meshes_ijk.values()])
    width, height = _VIEW_WIDTH * _OVERSAMPLING, _VIEW_HEIGHT * _OVERSAMPLING
    canvas = Canvas(View.towards(viewer, up, points, width, height, 0.06), _PANEL)
    inner = [structure for structure in STRUCTURES if structure is not LABYRINTH and structure.id in meshes_ijk]
    for structure in inner:
        canvas.draw_solid(meshes_ijk[structure.id], structure.colour)
    if LABYRINTH.id in meshes_ijk:
        draw = canvas.draw_glass if inner else canvas.draw_solid
        draw(meshes_ijk[LABYRINTH.id], LABYRINTH.colour)
    panel = Image.fromarray(canvas.pixels()).resize((_VIEW_WIDTH, _VIEW_HEIGHT), Image.Resampling.LANCZOS)
    ImageDraw.Draw(panel).text((12, 10), name, fill=_TEXT, font=_font(17))
    return panel


def _label_panel(panel: Image.Image, name: str, letters: tuple[str, str, str, str]) -> None:
    """Write the plane's name and the directions left, right, up, down."""
    draw, size = ImageDraw.Draw(panel), _SLICE
    texts: list[tuple[tuple[float, float], str, str, int]] = [
        ((12, 10), name, "la", 17),
        ((8, size / 2), letters[0], "lm", 14),
        ((size - 8, size / 2), letters[1], "rm", 14),
        ((size / 2, 10), letters[2], "mt", 14),
        ((size / 2, size - 10), letters[3], "mb", 14),
    ]
    for position, text, anchor, points in texts:
        draw.text(position, text, fill=_TEXT, font=_font(points), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _write_texts(
    page: Image.Image, meshes_ijk: Mapping[str, SurfaceMesh], title: str, subtitle: str, footer: str
) -> None:
    """Write header, legend and footer."""
    draw = ImageDraw.Draw(page)
    draw.text((_GAP + 2, 14), title, fill=_TEXT, font=_font(24))
    draw.text((_GAP + 2, 48), subtitle, fill=_MUTED, font=_font(16))
    right = page.width - _GAP
    for structure in reversed(STRUCTURES):
        if structure.id in meshes_ijk:
            right -= int(draw.textlength(structure.name, font=_font(17)))
            draw.text((right, 27), structure.name, fill=_TEXT, font=_font(17), anchor="lm")
            draw.rounded_rectangle((right - 24, 19, right - 8, 35), radius=4, fill=structure.colour)
            right -= 44
    draw.text((_GAP + 2, page.height - _FOOTER + 18), footer, fill=_MUTED, font=_font(16))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Give Pillow's own font, which is there on every machine."""
    return ImageFont.load_default(size)
