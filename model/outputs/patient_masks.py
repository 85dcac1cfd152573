"""The masks of a result on the grid of the patient's image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.masks.on_image import mask_on_image
from model.masks.voxelize import voxelize_structures
from model.outputs.segmentation import Segmentation


def patient_masks(segmentation: Segmentation) -> dict[str, npt.NDArray[np.bool_]]:
    """Give one mask per structure of the model, on the image's own grid.

    A voxel is in the mask when at least half of it is inside: of surfaces carried by a field, inside the closed surface
    (`voxelize_structures`); of a segmentation network's probabilities, where their mean over the voxel is above one
    half (`mask_on_image`). Structures that were not found have empty masks.

    Returns:
        bool [i, j, k] on the grid of the image, by structure id.

    Raises:
        MeshError: when a surface is not closed.
    """
    volume = segmentation.volume
    if segmentation.probability is None:
        return voxelize_structures(segmentation.meshes_ras, volume.affine, volume.shape)
    spacing_mm = segmentation.frame.spacing_mm
    return {
        name: mask_on_image(channel, segmentation.alignment, spacing_mm, volume)
        for name, channel in segmentation.probability.items()
    }
