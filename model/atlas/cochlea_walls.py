"""How the walls of one labyrinth's cochlea differ from the mean cochlea, angle by angle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from model.atlas.cochlea_pose import CochlearPose, cylindrical
from model.atlas.cochlea_spiral import CAP, LUMEN, PARTITION_MM, Sections, sections_at
from model.atlas.signed_distance import SignedDistance
from model.meshes.mesh import FloatArray

MARGIN_MM = 0.05
"""Kept between a scala and the surface of the labyrinth."""

_STEP_DEG = 5.0
_SMOOTHING_DEG = 25.0
# How far walls may move: the spread between ears of the section sizes, 9 to 15 % (Avci 2014), and of the height of the
# basal turn ("roller-coaster" profile), 0.15 to 0.20 mm.
_LATERAL_RANGE = (0.88, 1.15)
_STRETCH_RANGE = (0.92, 1.15)
_LARGEST_LIFT_MM = 0.2
_REACH_MM = 1.8
_FADE_DEG = 150.0


@dataclass(frozen=True)
class CochlearWalls:
    """Changes to the mean sections; all arrays have shape (A,).

    Attributes:
        angle_deg: angles at which the changes are known, growing; beyond, the nearest holds.
        lateral: factor on the radius of the lateral wall.
        lift: rise of the partition, in the section frame's millimetres.
        stretch: factor on the heights of both scalae.
    """

    angle_deg: FloatArray
    lateral: FloatArray
    lift: FloatArray
    stretch: FloatArray

    def apply(self, sections: Sections) -> Sections:
        """Give the sections of this labyrinth's cochlea."""
        lateral, lift, stretch = (
            np.interp(sections.angle_deg, self.angle_deg, values) for values in (self.lateral, self.lift, self.stretch)
        )
        return replace(
            sections,
            r_out=sections.r_out * lateral,
            partition_z=sections.partition_z + lift,
            tympani_depth=sections.tympani_depth * stretch[:, None],
            vestibuli_height=sections.vestibuli_height * stretch,
        )


def mean_walls() -> CochlearWalls:
    """Give the walls of the mean cochlea itself: nothing changes."""
    return CochlearWalls(np.zeros(1), np.ones(1), np.zeros(1), np.ones(1))


def measure_walls(pose: CochlearPose, distance: SignedDistance) -> CochlearWalls:
    """Measure where the walls of a labyrinth lie along the spiral.

    Labels are a tube only up to about 170 degrees, so floor and roof are measured there, and fade out behind it; the
    lateral wall is measured to 540 degrees.

    Args:
        pose: where the cochlea lies.
        distance: signed distance to the labyrinth, in voxels.
    """
    angles = np.arange(10.0, CAP[-1, 0] + _STEP_DEG, _STEP_DEG)
    sections = sections_at(angles)
    start_z = sections.partition_z + 0.3 * sections.width * sections.slope
    reach = np.linspace(_LATERAL_RANGE[0], _LATERAL_RANGE[1], 55)
    wall = _held(pose, distance, cylindrical(angles[:, None], sections.r_out[:, None] * reach, start_z[:, None]), reach)

    middle = sections.r_in + 0.6 * sections.width
    steps = np.linspace(0.0, _REACH_MM, 91)

    def vertical(sign: float) -> FloatArray:
        z = sections.partition_z[:, None] + sign * steps
        return _held(pose, distance, cylindrical(angles[:, None], middle[:, None], z), steps)

    roof, floor = vertical(1.0), vertical(-1.0)
    roof_excess = roof - (sections.vestibuli_height + PARTITION_MM)
    floor_excess = floor - sections.tympani_depth[:, 1]
    lift = np.clip((roof_excess - floor_excess) / 2, -_LARGEST_LIFT_MM, _LARGEST_LIFT_MM)
    height = sections.vestibuli_height + PARTITION_MM + sections.tympani_depth[:, 1]
    stretch = np.clip((roof + floor) / height, *_STRETCH_RANGE)
    last = int(np.searchsorted(angles, LUMEN[-1, 0]))
    fade = np.clip(1 - (angles - LUMEN[-1, 0]) / _FADE_DEG, 0.0, 1.0)
    return CochlearWalls(
        angles,
        _smooth(wall),
        fade * _smooth(_hold_after(lift, last)),
        1 + fade * (_smooth(_hold_after(stretch, last)) - 1),
    )


def _held(pose: CochlearPose, distance: SignedDistance, trials: FloatArray, values: FloatArray) -> FloatArray:
    """Give, for every row of trial points (A, T, 3), the last of `values` (T,) before the row leaves the labyrinth."""
    depth = -distance(pose.to_ijk(trials)) * pose.spacing_mm - MARGIN_MM
    count = np.logical_and.accumulate(depth > 0, axis=1).sum(axis=1)
    return np.asarray(values[np.clip(count - 1, 0, len(values) - 1)])


def _hold_after(values: FloatArray, last: int) -> FloatArray:
    """Repeat the value at `last` behind it."""
    return np.where(np.arange(len(values)) > last, values[last], values)


def _smooth(values: FloatArray) -> FloatArray:
    """Smooth values along the spiral."""
    return np.asarray(gaussian_filter1d(values, _SMOOTHING_DEG / _STEP_DEG, mode="nearest"))
