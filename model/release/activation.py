"""Whether an activation map comes from the first convolution of given weights.

The map of another method has the same channels and grid, and would give a field that is wrong without looking so. The
first convolution is linear: at every voxel, the map without the bias is W x, with W the weights of the channels and x
the 27 values of the neighbourhood (54 with both images). A map with more channels than W has independent columns can
hence be told from others: what is left of it beside the columns of W must vanish.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.errors import ReleaseError

_SAMPLES = 20_000
_LEFT_OVER = 0.02
"""Share of a map that may lie beside the columns: far more than single or TF32 precision leaves, far less than other
weights do (5 of 32 dimensions are free, which leaves 0.4 of a map of unrelated weights)."""


def check_origin(
    activation: npt.NDArray[np.float32], weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], name: str
) -> None:
    """Refuse an activation map that the weights cannot have made; says nothing when they could make any.

    Args:
        activation: (C, I, J, K) output of the convolution, bias included.
        weight: (C, inputs, 3, 3, 3), the inputs that were not zero.
        bias: (C,).
        name: file of the map, for the error.

    Raises:
        ReleaseError: the map is of other weights.
    """
    columns = weight.reshape(len(weight), -1).astype(np.float64)
    flat = activation.reshape(len(activation), -1)
    values = flat[:, :: max(1, flat.shape[1] // _SAMPLES)].astype(np.float64) - bias[:, None]
    basis, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    basis = basis[:, sizes > 1e-6 * sizes[0]]
    left = np.linalg.norm(values - basis @ (basis.T @ values))
    if left > _LEFT_OVER * np.linalg.norm(values):
        raise ReleaseError(
            f"{name} does not come from these weights",
            expected="the map of the first convolution of the checkpoint",
            found=f"one of which {left / np.linalg.norm(values):.0%} cannot be of it",
            hint="check that checkpoint and method belong together",
        )
