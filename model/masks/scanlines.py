"""Where the rays of a regular grid, all along one axis, cross the triangles of a surface.

Each triangle is cut into scanlines of constant u; on a scanline, the rays between the two edges it meets are hit.
An edge gives the same cut to both triangles that share it (it is computed from the same numbers in the same order), and
both ranges are half-open, so a ray meets a closed surface once per wall and the signs along it sum to exactly zero,
whatever the rounding and also where rays pass through edges and vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Crossings:
    """Crossings of rays with a surface, in no particular order.

    Attributes:
        u: ray index along the first axis.
        v: ray index along the second axis.
        triangle: index of the triangle that is crossed.
        depth: where along the ray, in the unit of the third coordinate.
        sign: +1.0 where the ray enters a surface that is wound outward, -1.0 where it leaves it.
    """

    u: IntArray
    v: IntArray
    triangle: IntArray
    depth: FloatArray
    sign: FloatArray


def cross_rays(corners: FloatArray, rays: tuple[int, int]) -> Crossings:
    """Intersect rays with triangles.

    Args:
        corners: (M, 3, 3) triangle corners; the rays are the lines of integer first and second coordinate.
        rays: number of rays along u and v, counted from zero; what lies beside them is not met.
    """
    order = np.argsort(corners[:, :, 0], axis=1, kind="stable")
    # Sorting by u is a rotation (same winding) exactly when each corner is followed by its successor.
    parity = np.where((order[:, 1] - order[:, 0]) % 3 == 1, 1.0, -1.0)
    low, middle, high = (np.take_along_axis(corners, order[:, at, None, None], axis=1)[:, 0] for at in range(3))

    first = _ceil_within(low[:, 0], rays[0])
    lines = _ceil_within(high[:, 0], rays[0]) - first
    lower_lines = _ceil_within(middle[:, 0], rays[0]) - first
    triangle = np.repeat(np.arange(len(lines)), lines)
    line = np.arange(len(triangle)) - np.repeat(np.cumsum(lines) - lines, lines)
    u = np.repeat(first, lines) + line

    in_lower = line < lower_lines[triangle]
    v_long = _cut(low, high, triangle, u)
    v_short = np.where(in_lower, _cut(low, middle, triangle, u), _cut(middle, high, triangle, u))
    start, stop = _ceil_within(v_short, rays[1]), _ceil_within(v_long, rays[1])
    hits = np.abs(stop - start)
    at = np.repeat(np.arange(len(hits)), hits)
    v = np.minimum(start, stop)[at] + np.arange(len(at)) - np.repeat(np.cumsum(hits) - hits, hits)
    # Seen from the end of the ray, a triangle wound counter-clockwise faces it: the ray leaves there.
    sign = -(np.sign(stop - start) * parity[triangle])[at]
    return Crossings(u[at], v, triangle[at], interpolate(corners, triangle[at], u[at], v), sign)


def _ceil_within(values: FloatArray, count: int) -> IntArray:
    """Round up to ray indices, held between zero and `count`."""
    return np.clip(np.ceil(values), 0, count).astype(np.int64)


def _cut(start: FloatArray, end: FloatArray, triangle: IntArray, u: IntArray) -> FloatArray:
    """Give the v at which scanlines cut edges that run from smaller to larger u."""
    rise = end[:, 0] - start[:, 0]
    slope = np.divide(end[:, 1] - start[:, 1], rise, out=np.zeros_like(rise), where=rise > 0)
    return np.asarray(start[triangle, 1] + slope[triangle] * (u - start[triangle, 0]))


def interpolate(corners: FloatArray, triangle: IntArray, u: IntArray, v: IntArray) -> FloatArray:
    """Give the third coordinate of triangles at rays, held within each triangle's own range.

    Args:
        corners: (M, 3, 3) triangle corners as (u, v, value); the value may be a depth or any other quantity.
        triangle: (N,) which triangle.
        u: (N,) ray index along the first axis.
        v: (N,) ray index along the second axis.

    Returns:
        (N,) linear interpolation of the value.
    """
    origin = corners[:, 0]
    one, two = corners[:, 1] - origin, corners[:, 2] - origin
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    area[area == 0] = 1.0
    slope_u = (one[:, 2] * two[:, 1] - two[:, 2] * one[:, 1]) / area
    slope_v = (two[:, 2] * one[:, 0] - one[:, 2] * two[:, 0]) / area
    offset = origin[:, 2] - slope_u * origin[:, 0] - slope_v * origin[:, 1]
    value = offset[triangle] + slope_u[triangle] * u + slope_v[triangle] * v
    low, high = corners[:, :, 2].min(axis=1), corners[:, :, 2].max(axis=1)
    return np.clip(value, low[triangle], high[triangle])
