"""The modiolus: the bony core inside the turns, carved by the scalae that wind around it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter, label
from skimage import measure

from model.atlas.cochlea_pose import CochlearPose
from model.atlas.signed_distance import SignedDistance
from model.meshes.mesh import FloatArray, SurfaceMesh
from model.meshes.smoothing import taubin_smooth

_measure: Any = measure  # ships without annotations

WALL_MM = 0.15
"""Bone between the modiolus and the lumen of the scalae, thinning to a third in the apical turn."""

# z above the base plane, radius: base of the cochlear-nerve canal to the apex, millimetres, derived from the inner
# radii of the lumen and uncertain by 0.3; _SPARE_MM more, which the scalae carve into a screw.
_PROFILE = np.array(
    [(-1.0, 1.9), (-0.5, 1.5), (0.0, 1.1), (0.5, 0.75), (1.0, 0.5), (1.5, 0.35), (2.0, 0.2), (2.4, 0.10)],
    dtype=np.float64,
)
_SPARE_MM = 0.12
_GRID_MM = 0.075
_BLEND_MM = 0.15
_SMOOTHING_PAIRS = 15


def modiolus_mesh(scalae: tuple[SurfaceMesh, ...], pose: CochlearPose) -> SurfaceMesh:
    """Give the modiolus as one closed surface in canonical voxels.

    A cone of the profile above, kept a wall away from the scalae, as the zero level of a blended distance.

    Args:
        scalae: the closed scalae in canonical voxels.
        pose: where the cochlea lies.
    """
    local, shape, corner = _grid()
    field = _cone(local)
    # The scalae only take away: what lies well outside the cone stays outside.
    near = field < 3 * _GRID_MM
    points = pose.to_ijk(local[near])
    wall = np.interp(local[near, 2], [1.0, 2.0], [WALL_MM, WALL_MM / 3])
    to_mm = pose.spacing_mm / pose.scale
    for scala in scalae:
        clearance = wall / pose.scale - SignedDistance(scala.vertices, scala.triangles)(points) * to_mm
        field[near] = smooth_maximum(field[near], clearance, _BLEND_MM)
    solid = gaussian_filter(_largest_part(field.reshape(shape)), 0.8)
    vertices, triangles, _, _ = _measure.marching_cubes(solid, 0.0)
    mesh = SurfaceMesh(pose.to_ijk(corner + vertices.astype(np.float64) * _GRID_MM), triangles, "ijk")
    mesh = taubin_smooth(mesh, _SMOOTHING_PAIRS)
    return mesh if mesh.signed_volume > 0 else mesh.flipped()


def smooth_maximum(a: FloatArray, b: FloatArray, blend: float) -> FloatArray:
    """Give the maximum of two distances, rounded where they differ by less than `blend` (polynomial, exact beyond)."""
    overlap = np.maximum(blend - np.abs(a - b), 0.0) / blend
    return np.asarray(np.maximum(a, b) + overlap**2 * blend / 4)


def _grid() -> tuple[FloatArray, tuple[int, int, int], FloatArray]:
    """Give points (N, 3) of a grid around the core, its shape and its first corner, in the section frame."""
    low, high = np.array([-2.4, -2.4, -1.4]), np.array([2.4, 2.4, 2.8])
    axes = [np.arange(a, b, _GRID_MM) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return points.reshape(-1, 3), (len(axes[0]), len(axes[1]), len(axes[2])), low


def _cone(local: FloatArray) -> FloatArray:
    """Give the approximate signed distance to the solid of revolution of the profile."""
    z, radius = _PROFILE.T
    # Beyond its ends the profile's last radius holds; the flat ends below close the solid.
    wall = PchipInterpolator(z, radius)(np.clip(local[:, 2], z[0], z[-1]))
    side = (np.hypot(local[:, 0], local[:, 1]) - wall - _SPARE_MM) * 0.8
    ends = np.maximum(z[0] - local[:, 2], local[:, 2] - z[-1])
    return smooth_maximum(side, ends, _BLEND_MM)


def _largest_part(field: FloatArray) -> FloatArray:
    """Turn every inside part but the largest into outside."""
    parts, count = label(field < 0)
    if count <= 1:
        return field
    keep = np.bincount(parts.ravel())[1:].argmax() + 1
    return np.where((parts > 0) & (parts != keep), np.abs(field) + _GRID_MM / 10, field)
