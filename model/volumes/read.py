"""Reading patient images, with every check that tells the image of an ear from anything else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from model.volumes.header import ImageHeader, read_header, refusal
from model.volumes.placement import Placement, place
from model.volumes.stream import finish, open_image, read_chunks
from model.volumes.volume import ImageLimits, Volume


def read_image(path: Path, limits: ImageLimits | None = None) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file, compressed or not, whatever its name.

    The header is judged before any voxel is read; never more is decompressed than it declares.

    Args:
        path: the file; its name plays no part and is never told in errors.
        limits: what is accepted; None for the defaults.

    Raises:
        ImageError: not a usable 3-D scalar image: damaged, wrong dimensions or type, unusable affine, spacing or field
            of view, values that are not finite or all alike.
        ImageTooLargeError: larger than the limits, in the file or as declared by the header.
    """
    limits = ImageLimits() if limits is None else limits
    with open_image(path, limits) as stream:
        header = read_header(stream, limits)
        placement = place(header, limits)
        data = _read_voxels(stream, header)
        finish(stream)
    return Volume(data, placement.affine, header.nifti, placement.warnings, placement.declared)


def check_image_header(path: Path, limits: ImageLimits | None = None) -> tuple[ImageHeader, Placement]:
    """Judge an image by its header alone, in a few milliseconds.

    Raises:
        ImageError, ImageTooLargeError: as `read_image`, short of what the voxels would show.
    """
    limits = ImageLimits() if limits is None else limits
    with open_image(path, limits) as stream:
        header = read_header(stream, limits)
        return header, place(header, limits)


def _read_voxels(stream: BinaryIO, header: ImageHeader) -> npt.NDArray[np.float32]:
    """Stream the voxels into a float32 array [i, j, k], scaled, finite and not constant."""
    for _ in read_chunks(stream, header.offset - header.header_bytes):
        pass  # Header extensions are of no interest.
    flat = np.empty(math.prod(header.shape), dtype=np.float32)
    done = 0
    for chunk in read_chunks(stream, header.data_bytes):
        stored = np.frombuffer(chunk, dtype=header.dtype)
        part = flat[done : done + len(stored)]
        with np.errstate(over="ignore", invalid="ignore"):
            if (header.slope, header.intercept) == (1.0, 0.0):
                part[:] = stored
            else:
                part[:] = stored.astype(np.float64) * header.slope + header.intercept
        _check_finite(part)
        done += len(stored)
    lowest, highest = float(flat.min()), float(flat.max())
    if lowest == highest:
        raise refusal("the image is constant", "a CT image", f"the value {lowest:g} everywhere")
    return flat.reshape(header.shape, order="F")


def _check_finite(values: npt.NDArray[np.float32]) -> None:
    """Refuse NaN, infinity and values beyond float32."""
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        hint = "replace them, with -1024 for air in CT"
        raise refusal("the image has values that are not finite", "finite numbers", "NaN or infinity", hint)
