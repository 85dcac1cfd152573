"""Rotation and translation that lay one surface on another, wherever the two lie at first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from model.geometry.rigid import fit_rigid
from model.geometry.spaces import apply_affine
from model.meshes.mesh import FloatArray
from model.surface_registration.cloud import SurfaceCloud

_TRIAL_POINTS, _FINAL_POINTS = 400, 3000
_TRIAL_STEPS, _FINAL_STEPS = 25, 60
_KEPT = 0.8
"""Part of the pairs, the closest ones, that count: the rest is room for holes, stray pieces and what is deformed."""
_STILL_MM = 1e-4


@dataclass(frozen=True)
class RigidFit:
    """A placed surface.

    Attributes:
        matrix: (4, 4) from the moving surface's millimetres to the fixed one's.
        residual_mm: root mean square over the closest pairs, both ways.
    """

    matrix: FloatArray
    residual_mm: float


def align_rigid(moving: SurfaceCloud, fixed: SurfaceCloud) -> RigidFit:
    """Find the rotation and translation that lay a surface on another.

    Iterative closest points from where the surfaces lie and from 24 poses: centroid on centroid and principal axes on
    principal axes, in every order and direction that is a rotation. The pose with the smallest residual is refined.

    Source: Besl and McKay, IEEE TPAMI 14 (1992) 239; trimmed pairs after Chetverikov et al., ICPR (2002) 545.
    """
    few, some = moving.thinned(_TRIAL_POINTS), fixed.thinned(_TRIAL_POINTS)
    trials = [_closest_points(few, some, start, _TRIAL_STEPS) for start in _starts(moving.points, fixed.points)]
    best = min(trials, key=lambda fit: fit.residual_mm)
    return _closest_points(moving.thinned(_FINAL_POINTS), fixed.thinned(_FINAL_POINTS), best.matrix, _FINAL_STEPS)


def _starts(moving: FloatArray, fixed: FloatArray) -> list[FloatArray]:
    """Give the (4, 4) poses to try: as they lie, and all rotations of the principal axes onto one another."""
    starts = [np.eye(4)]
    centres = moving.mean(axis=0), fixed.mean(axis=0)
    axes = [_principal_axes(points - centre) for points, centre in zip((moving, fixed), centres, strict=True)]
    for turn in Rotation.create_group("O").as_matrix():
        matrix = np.eye(4)
        matrix[:3, :3] = axes[1] @ turn @ axes[0].T
        matrix[:3, 3] = centres[1] - matrix[:3, :3] @ centres[0]
        starts.append(matrix)
    return starts


def _principal_axes(centred: FloatArray) -> FloatArray:
    """Give the principal axes as the columns of a rotation."""
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes[:, 0] *= np.sign(np.linalg.det(axes))
    return np.asarray(axes)


def _closest_points(moving: SurfaceCloud, fixed: SurfaceCloud, start: FloatArray, steps: int) -> RigidFit:
    """Alternate between closest points and the motion that brings them together, until nothing moves any more."""
    matrix, residual = start, np.inf
    for _ in range(steps):
        placed = apply_affine(matrix, moving.points)
        to_fixed, forward = fixed.tree.query(placed)
        # Rigid motions keep distances: the moving points are searched where they were, the fixed ones brought there.
        to_moving, backward = moving.tree.query(apply_affine(np.linalg.inv(matrix), fixed.points))
        one = np.argsort(to_fixed)[: int(_KEPT * len(to_fixed))]
        other = np.argsort(to_moving)[: int(_KEPT * len(to_moving))]
        source = np.concatenate([moving.points[one], moving.points[backward[other]]])
        target = np.concatenate([fixed.points[forward[one]], fixed.points[other]])
        residual = float(np.sqrt(np.mean(np.concatenate([to_fixed[one], to_moving[other]]) ** 2)))
        following, _ = fit_rigid(source, target)
        moved = np.abs(apply_affine(following, moving.points) - placed).max()
        matrix = following
        if moved < _STILL_MM:
            break
    return RigidFit(matrix, residual)
