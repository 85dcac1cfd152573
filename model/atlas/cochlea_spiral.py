"""The spiral of a mean human cochlea: what its sections through the modiolar axis look like at every angle.

Units: millimetres and degrees of the mean scala tympani's own size. Section frame: `r` away from the modiolar axis, `z`
along it towards the apex with z = 0 in the base plane. Angle 0 passes through the centre of the round window and grows
towards the apex; negative angles lie in the hook region, towards the vestibule.

Sources: scala tympani sections of the mean of 15 micro-CT ears (Froehlich 2024, 10.1371/journal.pone.0295121; method
Schurzig 2021, 10.3390/life11050373), read at 15 to 660 degrees and extrapolated beyond to 2.5 turns (2.57 +- 0.28
turns, 10.1038/s41598-021-82716-0); the row at 0 degrees is the slanted basal face of that surface, around the round
window. Heights of the scala vestibuli (cochlear duct included): clinical CT lumen less the scala tympani up to 180
degrees, after Wysocki 1999 (uncertain) beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from model.meshes.mesh import FloatArray

LAST_ANGLE_DEG = 900.0
"""Where both scalae end, at the helicotrema: 2.5 turns."""

VESTIBULE_ANGLE_DEG = -20.0
"""Where the scala vestibuli opens into the vestibule, below the oval window."""

PARTITION_MM = 0.08
"""Gap between the scalae: the basilar membrane and lamina; the duct's own membrane belongs to the scala vestibuli."""

_SMOOTHING_DEG = 10.0
"""Standard deviation of the smoothing along the spiral; the readings are good to about 0.06 mm."""

# angle, r_in, r_out, z of the centre, tilt (deg), heights at 20, 50 and 80 % of the width, modiolar to lateral.
_SCALA_TYMPANI = np.array(
    [
        (0, 4.32, 6.30, 0.22, 20, 1.10, 1.24, 1.12),
        (15, 3.26, 5.62, 0.13, 17, 1.14, 1.24, 1.12),
        (30, 2.78, 5.10, 0.04, 7, 1.22, 1.22, 0.94),
        (60, 2.22, 4.40, -0.20, 0, 1.24, 1.12, 0.74),
        (90, 2.00, 3.98, -0.20, -1, 1.10, 1.08, 0.70),
        (120, 1.74, 3.74, -0.04, 2, 1.00, 1.00, 0.68),
        (180, 1.38, 3.30, 0.22, 3, 0.92, 0.92, 0.72),
        (225, 1.06, 3.08, 0.29, 3, 0.88, 0.92, 0.70),
        (270, 0.88, 2.82, 0.37, 2, 0.78, 0.90, 0.72),
        (315, 0.88, 2.66, 0.56, 7, 0.76, 0.90, 0.74),
        (360, 0.70, 2.32, 0.78, 12, 0.80, 0.90, 0.70),
        (405, 0.52, 2.14, 0.90, 15, 0.80, 0.96, 0.70),
        (450, 0.50, 2.06, 1.08, 16, 0.82, 1.02, 0.70),
        (495, 0.40, 1.90, 1.41, 14, 0.78, 0.86, 0.56),
        (585, 0.22, 1.58, 1.89, 15, 0.76, 0.72, 0.48),
        (630, 0.18, 1.50, 2.07, 18, 0.72, 0.70, 0.50),
        (660, 0.17, 1.46, 2.14, 20, 0.74, 0.72, 0.46),
        (720, 0.16, 1.25, 2.23, 20, 0.68, 0.66, 0.46),
        (810, 0.18, 1.06, 2.38, 18, 0.54, 0.54, 0.40),
        (900, 0.22, 0.90, 2.52, 15, 0.42, 0.42, 0.32),
    ],
    dtype=np.float64,
)

# angle, height of the scala vestibuli (duct included) above the partition, at its highest.
_SCALA_VESTIBULI_HEIGHT = np.array(
    [
        (-20, 1.30),
        (0, 0.95),
        (30, 0.92),
        (75, 0.92),
        (105, 1.02),
        (135, 0.98),
        (165, 0.74),
        (225, 0.82),
        (700, 0.82),
        (900, 0.55),
    ],
    dtype=np.float64,
)

# angle, r_in, r_out, z of the partition at mid-width: the scala vestibuli leaving the cochlea for the vestibule.
_HOOK = np.array([(-20, 4.20, 6.00, -0.40), (-10, 4.25, 6.15, 0.25)], dtype=np.float64)

# angle, r_in, r_out, z_min, z_max of the whole lumen (both scalae and the duct) in clinical CT.
LUMEN = np.array(
    [
        (15, 3.23, 5.64, -0.62, 1.68),
        (30, 2.72, 5.30, -0.62, 1.54),
        (45, 2.35, 5.07, -0.71, 1.37),
        (60, 2.12, 4.92, -0.74, 1.31),
        (75, 1.95, 4.80, -0.70, 1.34),
        (90, 1.80, 4.51, -0.65, 1.41),
        (120, 1.56, 3.98, -0.58, 1.46),
        (135, 1.41, 3.70, -0.58, 1.43),
        (150, 1.29, 3.49, -0.61, 1.31),
        (165, 1.15, 3.33, -0.64, 1.21),
    ],
    dtype=np.float64,
)
"""Whole lumen of the basal turn: mean of two clinical bony labyrinths, (angle, r_in, r_out, z_min, z_max)."""

CAP = np.array([(180, 3.22), (240, 2.97), (300, 2.66), (360, 2.40), (450, 2.10), (540, 1.60)], dtype=np.float64)
"""Outer radius (angle, r_out) past about 190 degrees, where labels are one solid cap."""

CAP_TOP_MM = 3.38
"""Height of the top of the cap above the base plane."""


@dataclass(frozen=True)
class Sections:
    """Sections of the cochlea by half-planes through its axis, one per angle; all arrays have shape (A,) unless said.

    Attributes:
        angle_deg: the angles.
        r_in: modiolar edge.
        r_out: lateral wall.
        partition_z: height of the partition (roof of the scala tympani) at mid-width.
        slope: rise of the partition per millimetre outwards.
        tympani_depth: (A, 3) height of the scala tympani at 20, 50 and 80 % of the width.
        vestibuli_height: height of the scala vestibuli at its highest.
    """

    angle_deg: FloatArray
    r_in: FloatArray
    r_out: FloatArray
    partition_z: FloatArray
    slope: FloatArray
    tympani_depth: FloatArray
    vestibuli_height: FloatArray

    @property
    def width(self) -> FloatArray:
        """Radial extent of the sections."""
        return self.r_out - self.r_in

    @property
    def centreline(self) -> FloatArray:
        """(A, 3) points (r, angle_deg, z) of the partition at mid-width."""
        return np.stack([(self.r_in + self.r_out) / 2, self.angle_deg, self.partition_z], axis=1)


def sections_at(angle_deg: npt.ArrayLike) -> Sections:
    """Give the sections of the mean cochlea at some angles.

    Args:
        angle_deg: (A,) angles from VESTIBULE_ANGLE_DEG to LAST_ANGLE_DEG; beyond, the nearest of them holds.
    """
    angles = np.asarray(angle_deg, dtype=np.float64)
    grid = np.arange(VESTIBULE_ANGLE_DEG, LAST_ANGLE_DEG + 0.5, 1.0)
    table = _with_partition(_SCALA_TYMPANI)
    partition = np.concatenate([_HOOK[:, 3], table[:, 3]])
    knots = np.concatenate([_HOOK[:, 0], table[:, 0]])

    def along(at: FloatArray, values: FloatArray) -> FloatArray:
        dense = PchipInterpolator(at, values)(np.clip(grid, at[0], at[-1]))
        smooth = gaussian_filter1d(dense, _SMOOTHING_DEG, mode="nearest")
        # The steep basal end is left as read: smoothing would cut its corner.
        keep = np.clip((grid - 10.0) / 20.0, 0.0, 1.0)
        return np.asarray(np.interp(angles, grid, keep * smooth + (1 - keep) * dense))

    return Sections(
        angle_deg=angles,
        r_in=along(knots, np.concatenate([_HOOK[:, 1], table[:, 1]])),
        r_out=along(knots, np.concatenate([_HOOK[:, 2], table[:, 2]])),
        partition_z=along(knots, partition),
        slope=np.tan(np.radians(along(table[:, 0], table[:, 4]))),
        tympani_depth=np.stack([along(table[:, 0], table[:, column]) for column in (5, 6, 7)], axis=1),
        vestibuli_height=along(_SCALA_VESTIBULI_HEIGHT[:, 0], _SCALA_VESTIBULI_HEIGHT[:, 1]),
    )


def _with_partition(table: FloatArray) -> FloatArray:
    """Replace the height of the scala tympani's centre by that of its roof at mid-width.

    The centroid of a region of depth h(s) below a straight roof of rise m per unit of s lies at
    integral of h * (roof - h / 2) over integral of h.
    """
    result = table.copy()
    s = np.linspace(0.0, 1.0, 201)
    for row, out in zip(table, result, strict=True):
        depth = tympani_depth_profile(row[None, 5:8], s)[0]
        rise = np.tan(np.radians(row[4])) * (row[2] - row[1]) * (s - 0.5)
        out[3] = row[3] - float((depth * (rise - depth / 2)).sum() / depth.sum())
    return result


def tympani_depth_profile(depth: FloatArray, s: FloatArray) -> FloatArray:
    """Give the depth of the scala tympani below its roof across its width.

    Args:
        depth: (A, 3) depth at 20, 50 and 80 % of the width.
        s: (S,) position across the width, 0 at the modiolus, 1 at the lateral wall.

    Returns:
        (A, S): the parabola through the three depths, rounded off to 0 at both edges.
    """
    edge = _rounding(s)
    at = np.array([0.2, 0.5, 0.8])
    heights = depth / _rounding(at)
    basis = np.stack([np.prod([(s - at[j]) / (at[i] - at[j]) for j in range(3) if j != i], axis=0) for i in range(3)])
    return np.asarray(np.maximum(heights @ basis, 0.2 * heights.max(axis=1, keepdims=True)) * edge)


def _rounding(s: FloatArray) -> FloatArray:
    """Fall from 1 at mid-width to 0 at both edges, upright there (superellipse of exponents 4 and 2)."""
    return np.asarray(np.sqrt(np.maximum(1.0 - np.abs(2.0 * s - 1.0) ** 4, 0.0)))
