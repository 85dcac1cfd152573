"""The displacement field of a run as a vector image in ITK's convention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from model.geometry.spaces import ras_to_lps
from model.outputs.segmentation import Segmentation
from model.volumes.resample import canonical_box, displacement_to_patient_ras
from model.volumes.volume import Volume
from model.volumes.write import write_nifti

_NIFTI_INTENT_VECTOR = 1007


DISPLACEMENT_NAME = "displacement.nii.gz"
"""File name of the field inside a result; results of segmentation networks have none."""


def write_displacement(segmentation: Segmentation, path: Path) -> None:
    """Write the field as 5-D NIfTI (I, J, K, 1, 3), intent `vector` (1007), components in LPS mm.

    ITK, ANTs and SimpleITK read it as a displacement field transform: a point x of the rigidly placed atlas moves to
    x + v(x) in the patient. The file covers the part of the patient's grid that the canonical crop reaches (for a small
    scan, all of it), voxel for voxel on that grid; outside the crop the displacement is zero.

    Args:
        segmentation: the segmented ear.
        path: file to write, ending in `.nii.gz`.

    Raises:
        ValueError: when the result has no field.
    """
    if segmentation.ddf_ijk is None:
        raise ValueError("write_displacement: expected a result of a registration")
    part = _part_in_crop(segmentation)
    vectors_ras = displacement_to_patient_ras(segmentation.ddf_ijk, segmentation.alignment, part)
    vectors_lps = ras_to_lps(vectors_ras).astype(np.float32)[:, :, :, None, :]
    write_nifti(
        path,
        vectors_lps,
        part.affine,
        like=segmentation.volume,
        intent=_NIFTI_INTENT_VECTOR,
        description="displacement of the placed atlas, LPS mm",
    )


def _part_in_crop(segmentation: Segmentation) -> Volume:
    """Give the part of the image that the canonical crop reaches, or all of it when it reaches none."""
    volume = segmentation.volume
    box = canonical_box(segmentation.alignment, segmentation.frame, volume)
    if box is None:
        return volume
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return replace(volume, data=volume.data[box], affine=affine)
