"""Least-squares rotation and translation between matched points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def fit_rigid(source: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Find the rotation and translation that bring points closest to their partners.

    Source: W. Kabsch, Acta Cryst. A32 (1976) 922; the guard against reflections is that of S. Umeyama, IEEE TPAMI 13
    (1991) 376, without scale.

    Args:
        source: (N, 3) points, N >= 3 and not on one line.
        target: (N, 3) their partners, same unit.

    Returns:
        (4, 4) matrix from source to target with a proper rotation, and (N,) distances left after it.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((target - target_mean).T @ (source - source_mean))
    sign = 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0
    rotation = u @ np.diag([1.0, 1.0, sign]) @ vt
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = target_mean - rotation @ source_mean
    residuals = np.linalg.norm(source @ rotation.T + matrix[:3, 3] - target, axis=1)
    return matrix, np.asarray(residuals, dtype=np.float64)


def spread(points: FloatArray) -> FloatArray:
    """Give how far points extend along their three principal axes (singular values, longest first).

    Args:
        points: (N, 3) points.

    Returns:
        (3,) singular values of the centred points, in their unit; the second is near zero when they lie on one line,
        the third when they lie in one plane.
    """
    values = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return np.asarray(np.pad(values, (0, max(0, 3 - len(values))))[:3], dtype=np.float64)
