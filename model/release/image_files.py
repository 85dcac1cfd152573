"""Reading images and activation maps of the release: sizes are checked before room is made for the values."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from model.errors import ReleaseError

_MAX_SIZE, _MAX_VALUES = 1024, 2**28
"""Largest size along an axis, and number of values: 64 channels of 128 x 128 x 128 are 2**27."""

_READ_ERRORS = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    zlib.error,
)
"""All that nibabel raises on files that are no images, or damaged ones."""


def read_release_image(path: Path) -> npt.NDArray[np.float32]:
    """Read an image [i, j, k] or activation map [c, i, j, k] of the release, values as stored.

    Raises:
        ReleaseError: the file is missing, damaged, of another dimension, too large or not finite.
    """
    image = _open(path)
    try:
        values = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"), dtype=np.float32)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    if not np.isfinite(values).all():
        raise ReleaseError(f"{path.name} cannot be used", expected="finite values", found="NaN or infinity")
    return values


def read_release_shape(path: Path) -> tuple[int, ...]:
    """Read the shape of an image or activation map from its header.

    Raises:
        ReleaseError: the file is missing or damaged, or of another dimension or too large.
    """
    return tuple(int(size) for size in _open(path).shape)


def check_spacing(path: Path, spacing_mm: float) -> None:
    """Refuse an image whose header states another voxel size; 1 mm, which tools write unasked, states none.

    Raises:
        ReleaseError: another spacing, or an image that cannot be read.
    """
    found = np.abs(np.asarray(_open(path).header.get_zooms()[:3], dtype=np.float64))
    if not np.allclose(found, 1.0) and not np.allclose(found, spacing_mm, rtol=0.01):
        stated = " x ".join(f"{size:.3g}" for size in found)
        raise ReleaseError(f"{path.name} has other voxels", expected=f"{spacing_mm:g} mm", found=f"{stated} mm")


def _open(path: Path) -> Any:  # noqa: ANN401
    """Read the header of an image, its size checked."""
    if not path.is_file():
        raise ReleaseError("a file of the release is missing", expected=path.name)
    try:
        image: Any = nibabel.load(path)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    shape = image.shape
    if len(shape) not in (3, 4) or not all(1 <= size <= _MAX_SIZE for size in shape):
        expected = f"3 or 4 dimensions of at most {_MAX_SIZE}"
        raise ReleaseError(f"{path.name} cannot be used", expected=expected, found=f"shape {tuple(shape)}")
    if np.prod(shape, dtype=np.int64) > _MAX_VALUES:
        raise ReleaseError(f"{path.name} is too large", expected=f"at most {_MAX_VALUES} values", found=str(shape))
    return image


def _unreadable(path: Path, error: BaseException) -> ReleaseError:
    """Make the error of a file that cannot be read."""
    return ReleaseError(f"{path.name} cannot be read", expected="a NIfTI image", found=type(error).__name__)
