"""The surfaces of a mask or of every label of a label map, in patient millimetres."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from model.errors import ImageError
from model.masks.isosurface import isosurface
from model.meshes.convert import to_space
from model.meshes.mesh import SurfaceMesh
from model.meshes.smoothing import smooth_keeping_volume
from model.structures import STRUCTURES

_MOST_LABELS = 256


def labels_of(data: npt.NDArray[np.generic]) -> tuple[int, ...]:
    """Give the labels in a mask or label map, zero apart.

    Args:
        data: [i, j, k] whole numbers of any type.

    Raises:
        ImageError: when there is nothing but zero, values are no whole numbers, or there are too many of them for a
            map of structures.
    """
    values = np.unique(data)
    if not np.isfinite(values).all() or (values != np.round(values)).any():
        raise ImageError(
            "the mask holds values between its labels",
            expected="whole numbers",
            found=f"{len(values)} values",
            hint="threshold it first",
        )
    labels = tuple(int(value) for value in values if value != 0)
    if not labels:
        raise ImageError("the mask is empty", expected="at least one voxel that is not zero", found="none")
    if len(labels) > _MOST_LABELS:
        raise ImageError("this is no label map", expected=f"at most {_MOST_LABELS} labels", found=f"{len(labels)}")
    return labels


def is_label_map(labels: tuple[int, ...]) -> bool:
    """Whether labels are those of several structures: more than one of them, or one of the other structures' values.

    A single 1 is what binary masks hold, and so is a single value that no structure has, such as 255.
    """
    return len(labels) > 1 or labels[0] in {structure.label for structure in STRUCTURES if structure.label != 1}


def label_names(labels: tuple[int, ...]) -> Mapping[int, str]:
    """Name labels: by structure when all are labels of structures, otherwise `label_7`."""
    known = {structure.label: structure.id for structure in STRUCTURES}
    by_structure = set(labels) <= set(known)
    return {label: known[label] if by_structure else f"label_{label}" for label in labels}


def mask_surface_ras(inside: npt.NDArray[np.bool_], affine: npt.ArrayLike, smooth: int = 0) -> SurfaceMesh:
    """Give the closed surface of a mask in RAS mm, wound outward.

    Args:
        inside: [i, j, k], True somewhere.
        affine: (4, 4) voxel indices -> RAS mm; may be oblique, mirrored and anisotropic.
        smooth: iterations of smoothing, in millimetres; the volume is kept.

    Raises:
        ImageError: when the mask is empty.
    """
    surface = isosurface(np.asarray(inside, dtype=np.float32))
    if surface is None:
        raise ImageError("the mask is empty", expected="at least one voxel inside", found="none")
    return smooth_keeping_volume(to_space(surface, "ras", affine), smooth)
