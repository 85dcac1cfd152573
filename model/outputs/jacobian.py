"""Where a displacement field folds space over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SLAB = 16


def folded_fraction(ddf_ijk: npt.NDArray[np.float32]) -> float:
    """Give the part of the grid cells where p -> p + ddf(p) turns space inside out.

    Args:
        ddf_ijk: (3, I, J, K) displacements in voxels, channel c along axis c, at least two voxels along each axis.

    Returns:
        Fraction of cells whose Jacobian determinant (forward differences) is zero or negative.
    """
    folded, cells = 0, 0
    last = ddf_ijk.shape[1] - 1
    for start in range(0, last, _SLAB):  # slabs keep the temporaries small
        slab = ddf_ijk[:, start : min(start + _SLAB, last) + 1]
        jacobian = [[_difference(slab[channel], axis) for axis in range(3)] for channel in range(3)]
        for channel in range(3):
            jacobian[channel][channel] += 1.0
        (a, b, c), (d, e, f), (g, h, i) = jacobian
        determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
        folded += int(np.count_nonzero(determinant <= 0))
        cells += determinant.size
    return folded / cells if cells else 0.0


def _difference(channel: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Forward difference along an axis, on the cells that have a neighbour along every axis."""
    steps = np.diff(channel, axis=axis)
    trim = tuple(slice(None) if other == axis else slice(None, -1) for other in range(3))
    return steps[trim]
