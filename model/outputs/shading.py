"""Pictures of surfaces without a graphics library: orthographic, z-buffered, smooth-shaded.

It runs on any machine (no display, no OpenGL) and always gives the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.masks.scanlines import IntArray, cross_rays, interpolate
from model.meshes.mesh import FloatArray, SurfaceMesh
from model.meshes.topology import vertex_normals

_LIGHT = np.array([-0.45, 0.6, 0.66])  # from the upper left, towards the viewer; unit length within 1 %
_AMBIENT, _DIFFUSE, _SPECULAR, _SHININESS = 0.34, 0.62, 0.28, 28.0
_GLASS_ALPHA, _GLASS_RIM = 0.14, 0.64


@dataclass(frozen=True)
class View:
    """An orthographic view.

    Attributes:
        right: unit vector that points right in the picture.
        up: unit vector that points up in the picture.
        centre: the point in the middle of the picture.
        pixels_per_unit: scale of the picture.
        width: pixels.
        height: pixels.
    """

    right: FloatArray
    up: FloatArray
    centre: FloatArray
    pixels_per_unit: float
    width: int
    height: int

    @classmethod
    def towards(
        cls, viewer: Sequence[float], up: Sequence[float], points: FloatArray, width: int, height: int, margin: float
    ) -> View:
        """Give the view that shows all points.

        Args:
            viewer: direction from the points to the viewer.
            up: direction that points up in the picture, made square to `viewer`.
            points: (N, 3) what has to fit.
            width: pixels.
            height: pixels.
            margin: part of the picture that stays empty on each side.
        """
        towards = np.asarray(viewer, dtype=np.float64) / np.linalg.norm(viewer)
        upright = np.asarray(up, dtype=np.float64) - np.dot(up, towards) * towards
        upright /= np.linalg.norm(upright)
        right = np.cross(upright, towards)
        flat = np.stack([points @ right, points @ upright], axis=1)
        low, high = flat.min(axis=0), flat.max(axis=0)
        extent = np.maximum(high - low, 1e-6)
        scale = (1 - 2 * margin) * min(width / extent[0], height / extent[1])
        middle = (low + high) / 2
        return cls(right, upright, middle[0] * right + middle[1] * upright, float(scale), width, height)

    def project(self, points: FloatArray) -> FloatArray:
        """Give (N, 3) pixel column, pixel row from the bottom, and depth that grows towards the viewer."""
        basis = np.stack([self.right, self.up, np.cross(self.right, self.up)], axis=1)
        flat = (points - self.centre) @ basis * self.pixels_per_unit
        return np.asarray(flat + np.array([self.width / 2 - 0.5, self.height / 2 - 0.5, 0.0]))

    def direction(self, vectors: FloatArray) -> FloatArray:
        """Give (N, 3) vectors in picture axes: right, up, towards the viewer."""
        return np.asarray(vectors @ np.stack([self.right, self.up, np.cross(self.right, self.up)], axis=1))


class Canvas:
    """A picture under construction, with the depth of what it shows.

    Attributes:
        colour: (height, width, 3) linear colour 0..1.
        depth: (height, width) depth of the nearest solid surface, minus infinity where there is none.
    """

    def __init__(self, view: View, background: tuple[int, int, int]) -> None:
        """Start with an empty picture in sRGB `background`."""
        self.view = view
        self.colour = np.empty((view.height, view.width, 3))
        self.colour[:] = _linear(background)
        self.depth = np.full((view.height, view.width), -np.inf)

    def draw_solid(self, mesh: SurfaceMesh, colour: tuple[int, int, int] | npt.NDArray[np.uint8]) -> None:
        """Draw an opaque surface.

        Args:
            mesh: the surface.
            colour: sRGB 0..255 of all of it, or (N, 3) of its vertices, blended in between.
        """
        wall = self._nearer(_Projection(self.view, mesh, _linear(colour)).nearest(facing=True))
        self.depth.ravel()[wall.pixel] = wall.depth
        self.colour.reshape(-1, 3)[wall.pixel] = _shade(wall.normals, wall.tint)

    def draw_glass(self, mesh: SurfaceMesh, colour: tuple[int, int, int]) -> None:
        """Draw a translucent surface over what is there: far wall first, denser towards its rim."""
        projection, pixels = _Projection(self.view, mesh, _linear(colour)), self.colour.reshape(-1, 3)
        for facing in (False, True):
            wall = self._nearer(projection.nearest(facing=facing))
            slant = 1.0 - np.abs(wall.normals[:, 2])
            alpha = (_GLASS_ALPHA + _GLASS_RIM * slant**2)[:, None] * (1.0 if facing else 0.5)
            tint = _shade(wall.normals if facing else -wall.normals, wall.tint)
            behind = pixels[wall.pixel]
            pixels[wall.pixel] = behind + alpha * (tint - behind)

    def pixels(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Give the (height, width, 3) sRGB picture."""
        levels = np.rint(255 * (np.arange(4096) / 4095) ** (1 / 2.2)).astype(np.uint8)
        return np.asarray(levels[(np.clip(self.colour, 0, 1) * 4095).astype(np.int16)])

    def _nearer(self, wall: _Wall) -> _Wall:
        """Give the part of a wall that no solid surface hides."""
        seen = wall.depth > self.depth.ravel()[wall.pixel]
        return _Wall(wall.pixel[seen], wall.depth[seen], wall.normals[seen], wall.tint[seen])


@dataclass(frozen=True)
class _Wall:
    """What is seen of a surface: flat pixel index, depth, unit normal in picture axes, linear colour."""

    pixel: IntArray
    depth: FloatArray
    normals: FloatArray
    tint: FloatArray


class _Projection:
    """A surface crossed by the rays of all pixels of a view."""

    def __init__(self, view: View, mesh: SurfaceMesh, tint: FloatArray) -> None:
        """Cross the surface, which has one (3,) linear colour or (N, 3) of its vertices, with the rays."""
        self._view = view
        self._tint = tint if tint.ndim == 1 else tint[mesh.triangles]
        self._corners = view.project(mesh.vertices)[mesh.triangles]
        self._normals = view.direction(vertex_normals(mesh))[mesh.triangles]
        self._hits = cross_rays(self._corners, (view.width, view.height))

    def nearest(self, *, facing: bool) -> _Wall:
        """Give the nearest wall of each pixel among those that face the viewer, or among those that do not."""
        hits, view = self._hits, self._view
        # Rays run towards the viewer, so they leave through the walls that face it.
        chosen = np.flatnonzero(hits.sign < 0 if facing else hits.sign > 0)
        chosen = chosen[np.argsort(hits.depth[chosen])]  # nearest last: it stays
        nearest = np.full(view.width * view.height, -1)
        nearest[(view.height - 1 - hits.v[chosen]) * view.width + hits.u[chosen]] = chosen
        pixel = np.flatnonzero(nearest >= 0)
        keep = nearest[pixel]
        normals = self._across(self._normals, keep)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        one = self._tint.ndim == 1
        tint = np.broadcast_to(self._tint, normals.shape) if one else self._across(self._tint, keep)
        return _Wall(pixel, hits.depth[keep], normals, tint)

    def _across(self, corners: FloatArray, keep: IntArray) -> FloatArray:
        """Give (K, 3) of what triangles have at their corners (M, 3, 3), where chosen rays meet them."""
        hits, values = self._hits, np.empty((len(keep), 3))
        for part in range(3):
            attribute = np.concatenate([self._corners[:, :, :2], corners[:, :, part, None]], axis=2)
            values[:, part] = interpolate(attribute, hits.triangle[keep], hits.u[keep], hits.v[keep])
        return values


def _linear(colour: tuple[int, int, int] | npt.NDArray[np.uint8]) -> FloatArray:
    """Turn sRGB 0..255 into linear colour 0..1 (gamma 2.2)."""
    return (np.asarray(colour, dtype=np.float64) / 255) ** 2.2


def _shade(normals: FloatArray, colour: FloatArray) -> FloatArray:
    """Light unit normals: ambient, diffuse and a highlight (Blinn-Phong)."""
    diffuse = np.clip(normals @ _LIGHT, 0, 1)
    halfway = _LIGHT + np.array([0.0, 0.0, 1.0])
    highlight = np.clip(normals @ (halfway / np.linalg.norm(halfway)), 0, 1) ** _SHININESS
    headlight = 0.25 * np.clip(normals[:, 2], 0, 1)
    return np.asarray((_AMBIENT + _DIFFUSE * diffuse + headlight)[:, None] * colour + _SPECULAR * highlight[:, None])
