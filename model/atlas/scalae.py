"""The scala tympani and the scala vestibuli as lofted tubes that share one partition.

Both are rings of points, one ring per angle, drawn in the half-plane through the modiolar axis and closed by rounded
ends. The scala vestibuli's floor follows the scala tympani's roof at a constant gap, the basilar partition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, minimum_filter

from model.atlas.cochlea_pose import CochlearPose, cylindrical
from model.atlas.cochlea_spiral import (
    LAST_ANGLE_DEG,
    PARTITION_MM,
    VESTIBULE_ANGLE_DEG,
    Sections,
    sections_at,
    tympani_depth_profile,
)
from model.atlas.cochlea_walls import CochlearWalls
from model.meshes.mesh import FloatArray, IntArray, SurfaceMesh

_CORNER_MM = 0.04
_RING_POINTS = 28
_RING_STEP_MM = 0.18
_CAP_RINGS = 6
_BLIND_END_DEG = -5.0
_CAP_DEG = {"base": 9.0, "apex": 28.0}
_LEAST_FACTOR = 0.15
_TRIALS = 8
_HALVINGS = 4

Constraint = Callable[[FloatArray], FloatArray]
"""Takes canonical points (..., 3) and gives how far they are allowed (positive) or forbidden (negative), in mm."""


@dataclass(frozen=True)
class Scala:
    """A scala before it is meshed.

    Attributes:
        angle_deg: (A,) angle of every ring, growing towards the helicotrema.
        rings: (A, P, 2) outlines (r, z) in the section frame, in order around the section.
    """

    angle_deg: FloatArray
    rings: FloatArray

    @property
    def points(self) -> FloatArray:
        """(A, P, 3) the rings as points (u, v, z) of the mean cochlea."""
        return cylindrical(self.angle_deg[:, None], self.rings[..., 0], self.rings[..., 1])


def scala_tympani(walls: CochlearWalls) -> Scala:
    """Draw the scala tympani, from its blind base at the round window to the helicotrema.

    Args:
        walls: how the sections differ from the mean cochlea's.
    """
    angles, closing = _ring_angles(_BLIND_END_DEG, LAST_ANGLE_DEG)
    sections = walls.apply(sections_at(angles))
    s = _across()
    roof = _partition(sections, s) - _CORNER_MM * np.abs(2 * s - 1) ** 8
    floor = roof - tympani_depth_profile(sections.tympani_depth, s)
    return _scala(angles, closing, _radii(sections, s), roof, floor)


def scala_vestibuli(walls: CochlearWalls) -> Scala:
    """Draw the scala vestibuli with the cochlear duct, from the vestibule to the helicotrema.

    Args:
        walls: how the sections differ from the mean cochlea's.
    """
    angles, closing = _ring_angles(VESTIBULE_ANGLE_DEG, LAST_ANGLE_DEG)
    sections = walls.apply(sections_at(angles))
    s = _across()
    floor = _partition(sections, s) + PARTITION_MM + _CORNER_MM * np.abs(2 * s - 1) ** 8
    dome = np.sqrt(np.maximum(1.0 - np.abs(2.0 * s - 1.0) ** 3.0, 0.0))
    roof = floor + sections.vestibuli_height[:, None] * dome
    return _scala(angles, closing, _radii(sections, s), roof, floor)


def confined(scala: Scala, pose: CochlearPose, constraint: Constraint) -> Scala:
    """Draw the rings of a scala in towards their centres until a constraint holds, smoothly along and around.

    Args:
        scala: the scala.
        pose: where it lies.
        constraint: what must hold; see `Constraint`.
    """
    centre = scala.rings.mean(axis=1, keepdims=True)

    def allowed(factors: FloatArray) -> npt.NDArray[np.bool_]:
        trial = centre[..., None, :] + factors[..., None] * (scala.rings - centre)[..., None, :]
        points = cylindrical(scala.angle_deg[:, None, None], trial[..., 0], trial[..., 1])
        return np.asarray(constraint(pose.to_ijk(points)) >= 0)

    # The last trial before the first forbidden one, then halving between the two.
    factors = np.linspace(_LEAST_FACTOR, 1.0, _TRIALS)
    count = np.logical_and.accumulate(allowed(np.broadcast_to(factors, (*scala.rings.shape[:2], _TRIALS))), -1).sum(-1)
    low, high = factors[np.maximum(count - 1, 0)], factors[np.minimum(count, _TRIALS - 1)]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        good = allowed(middle[..., None])[..., 0]
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    limit = low
    calm = gaussian_filter(
        minimum_filter(limit, size=(3, 3), mode=("nearest", "wrap")), (1.5, 1.0), mode=("nearest", "wrap")
    )
    return Scala(scala.angle_deg, centre + np.minimum(limit, calm)[..., None] * (scala.rings - centre))


def scala_mesh(scala: Scala, pose: CochlearPose) -> SurfaceMesh:
    """Loft the rings of a scala into a closed surface in canonical voxels, with `angle_deg` at every vertex."""
    rings, points = scala.rings.shape[:2]
    body = scala.points
    vertices = np.concatenate([body.reshape(-1, 3), body[[0, -1]].mean(axis=1)])
    angles = np.concatenate([np.repeat(scala.angle_deg, points), scala.angle_deg[[0, -1]]])
    mesh = SurfaceMesh(pose.to_ijk(vertices), _loft(rings, points), "ijk", {"angle_deg": angles.astype(np.float32)})
    return mesh if mesh.signed_volume > 0 else mesh.flipped()


def _loft(rings: int, points: int) -> IntArray:
    """Give the triangles between consecutive rings and the fans that close both ends."""
    index = np.arange(rings * points).reshape(rings, points)
    a, b = index[:-1], np.roll(index[:-1], -1, axis=1)
    c, d = index[1:], np.roll(index[1:], -1, axis=1)
    sides = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    first, last = index[0], index[-1]
    start = np.stack([np.roll(first, -1), first, np.full(points, rings * points)], axis=-1)
    end = np.stack([last, np.roll(last, -1), np.full(points, rings * points + 1)], axis=-1)
    return np.concatenate([sides, start, end]).astype(np.int32)


def _ring_angles(first: float, last: float) -> tuple[FloatArray, FloatArray]:
    """Give ring angles at even steps along the centreline and how open each ring is: 1, falling to 0 at the ends."""
    dense = np.arange(first, last + 0.5, 1.0)
    radius, turned, height = sections_at(dense).centreline.T
    steps = np.linalg.norm(np.diff(cylindrical(turned, radius, height), axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    base, apex = first + _CAP_DEG["base"], last - _CAP_DEG["apex"]
    start, stop = (float(np.interp(angle, dense, arc)) for angle in (base, apex))
    even = np.linspace(start, stop, round((stop - start) / _RING_STEP_MM))
    body = np.asarray(np.interp(even, arc, dense))
    quarter = np.linspace(0, np.pi / 2, _CAP_RINGS + 1)[:-1] + 0.2
    head = base - _CAP_DEG["base"] * np.cos(quarter)
    tail = (apex + _CAP_DEG["apex"] * np.cos(quarter))[::-1]
    opening = np.sin(quarter)
    return np.concatenate([head, body, tail]), np.concatenate([opening, np.ones(len(body)), opening[::-1]])


def _across() -> FloatArray:
    """Give positions across the width, denser at the edges, where outlines turn."""
    return np.asarray((1 - np.cos(np.linspace(0, np.pi, 101))) / 2)


def _radii(sections: Sections, s: FloatArray) -> FloatArray:
    """Give the radius (A, S) across the width."""
    return np.asarray(sections.r_in[:, None] + sections.width[:, None] * s)


def _partition(sections: Sections, s: FloatArray) -> FloatArray:
    """Give the height (A, S) of the roof of the scala tympani across the width."""
    rise = (sections.slope * sections.width)[:, None] * (s - 0.5)
    return np.asarray(sections.partition_z[:, None] + rise)


def _scala(angles: FloatArray, opening: FloatArray, r: FloatArray, roof: FloatArray, floor: FloatArray) -> Scala:
    """Give rings of evenly spaced points on the outlines, drawn together where the ends close."""
    rings = np.stack(
        [
            _evenly(np.concatenate([np.stack([x, up], -1), np.stack([x, down], -1)[-2:0:-1]]))
            for x, up, down in zip(r, roof, floor, strict=True)
        ]
    )
    centre = rings.mean(axis=1, keepdims=True)
    return Scala(angles, centre + opening[:, None, None] * (rings - centre))


def _evenly(outline: FloatArray) -> FloatArray:
    """Resample a closed outline (Q, 2) to ring points at even arc length, keeping its first point."""
    closed = np.concatenate([outline, outline[:1]])
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.arange(_RING_POINTS) / _RING_POINTS * arc[-1]
    return np.stack([np.interp(at, arc, closed[:, 0]), np.interp(at, arc, closed[:, 1])], axis=-1)
