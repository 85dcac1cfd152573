"""The one place that converts points between voxel indices, RAS and LPS millimetres."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""(4, 4) matrix between RAS and LPS millimetres; its own inverse.

NIfTI holds RAS; DICOM, ITK and mesh files of 3D Slicer mean LPS. The two differ by half a turn about S.
"""


def apply_affine(affine: npt.ArrayLike, points: npt.ArrayLike) -> FloatArray:
    """Move points by a 4x4 affine.

    Args:
        affine: (4, 4) matrix acting on column vectors.
        points: (..., 3) points in the space the matrix maps from.

    Returns:
        (..., 3) float64 points in the space the matrix maps to.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    array = np.asarray(points, dtype=np.float64)
    return np.asarray(array @ matrix[:3, :3].T + matrix[:3, 3])


def ras_to_lps(points_ras: npt.ArrayLike) -> FloatArray:
    """Turn RAS millimetres into LPS millimetres; applied twice it gives its input back."""
    return np.asarray(np.asarray(points_ras, dtype=np.float64) * [-1.0, -1.0, 1.0], dtype=np.float64)
