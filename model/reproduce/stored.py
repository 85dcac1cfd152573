"""NIfTI files of any number of dimensions, read to the last byte so that nothing cut short passes."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass
from io import IOBase
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from model.volumes.header import refusal, too_large
from model.volumes.stream import finish, open_image
from model.volumes.volume import ImageLimits

LIMITS = ImageLimits(max_file_bytes=4 * 2**30, max_decompressed_bytes=4 * 2**30)
"""Activation maps are larger than images: 64 channels of 128^3 voxels take 512 MiB."""

_HEADER_ERRORS = (ImageFileError, HeaderDataError, WrapStructError, ValueError)


@dataclass(frozen=True)
class StoredArray:
    """What a NIfTI file holds.

    Attributes:
        values: float32, scaled as the header says.
        affine: (4, 4) of the header, as it stands.
        description: the header's free text.
    """

    values: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    description: str


def read_stored(path: Path, check_shape: Callable[[tuple[int, ...]], None] | None = None) -> StoredArray:
    """Read a NIfTI file wholly.

    Args:
        path: the file; it is compressed when its content is.
        check_shape: called with the header's shape before any value is read; it may refuse.

    Raises:
        ImageError: no such file, damaged, cut short, or not of plain finite numbers.
        ImageTooLargeError: larger than `LIMITS`.
    """
    with open_image(path, LIMITS) as stream:
        try:
            image = nibabel.Nifti1Image.from_file_map({"image": FileHolder(fileobj=cast("IOBase", stream))}, mmap=False)
        except _HEADER_ERRORS as error:
            raise refusal("the file is not a NIfTI image", "a NIfTI file (.nii.gz)", "other content") from error
        _check_header(image, check_shape)
        try:
            values = image.get_fdata(dtype=np.float32)
        except gzip.BadGzipFile:
            raise
        except (OSError, ValueError) as error:
            found = "fewer or other bytes"
            raise refusal("the image is cut short", "the values that its header declares", found) from error
        finish(stream)
        description = bytes(image.header["descrip"]).decode("latin-1").rstrip("\0")
    if not np.isfinite(values).all():
        raise refusal("the image has values that are not finite", "finite numbers", "NaN or infinity")
    return StoredArray(values, np.asarray(image.affine, dtype=np.float64), description)


def _check_header(image: nibabel.Nifti1Image, check_shape: Callable[[tuple[int, ...]], None] | None) -> None:
    """Refuse by the header what is not of plain numbers, too large, or of a shape that the caller does not take."""
    if image.get_data_dtype().kind not in "iuf":
        found = str(image.get_data_dtype())
        raise refusal("the values are not plain numbers", "one integer or real number per voxel", found)
    shape = tuple(int(size) for size in image.shape)
    if check_shape is not None:
        check_shape(shape)
    size = 4 * math.prod(shape)
    if size > LIMITS.max_decompressed_bytes:
        raise too_large("the image is too large when decompressed", LIMITS.max_decompressed_bytes, size)
