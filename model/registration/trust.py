"""Where an image can be believed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from model.registration.refinement_options import RefinementOptions


def trust(
    depth_mm: npt.NDArray[np.float32], metal: npt.NDArray[np.bool_], spacing_mm: float, options: RefinementOptions
) -> npt.NDArray[np.float32]:
    """Give how far the image can be believed: well inside the field of view and away from metal.

    The weight fades in over `fade_mm`: one that jumped would let the rounding of a header decide which voxels count.

    Args:
        depth_mm: [I, J, K] distance to the border of the field of view, negative outside.
        metal: [I, J, K] voxels that hold metal.
        spacing_mm: voxel of the crop.
        options: for the margins.

    Returns:
        [I, J, K] float32 from 0 to 1.
    """
    weight = np.clip((depth_mm - options.border_margin_mm) / options.fade_mm, 0, 1)
    if metal.any():
        away = distance_transform_edt(~metal, sampling=spacing_mm)
        weight = weight * np.clip((away - options.metal_margin_mm) / options.fade_mm, 0, 1)
    return np.asarray(weight, dtype=np.float32)
