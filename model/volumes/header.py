"""NIfTI headers, read and judged before any voxel is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import BinaryIO

import nibabel
import numpy as np

from model.errors import ImageError, ImageTooLargeError
from model.volumes.volume import ImageLimits

MAX_VOX_OFFSET = 16 * 2**20
"""Largest accepted distance of the voxels from the start of the file; header extensions take a few kilobytes."""

_INTEGERS = {2: "u1", 4: "i2", 8: "i4", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_SCALARS = {**_INTEGERS, 16: "f4", 64: "f8"}
_OTHERS = {1: "bit", 32: "complex", 128: "RGB", 1536: "128-bit", 1792: "complex", 2048: "complex", 2304: "RGBA"}


@dataclass(frozen=True)
class ImageHeader:
    """A header found acceptable, and how to read the voxels behind it.

    Attributes:
        nifti: the header (NIfTI-1, or NIfTI-2 which nibabel derives from it).
        shape: voxels along i, j, k.
        dtype: stored type, with its byte order.
        offset: bytes from the start of the file to the first voxel.
        slope, intercept: stored value -> value.
    """

    nifti: nibabel.Nifti1Header
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float

    @property
    def header_bytes(self) -> int:
        """Bytes of the fixed header."""
        return int(self.nifti.sizeof_hdr)

    @property
    def data_bytes(self) -> int:
        """Bytes of the voxels as stored."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: BinaryIO, limits: ImageLimits) -> ImageHeader:
    """Read the header at the start of a decompressed stream and check type, dimensions and size.

    Raises:
        ImageError: not a single-file NIfTI, not a three-dimensional scalar image.
        ImageTooLargeError: the declared voxels exceed the limits.
    """
    nifti = _parse(stream)
    shape = _shape(nifti, limits)
    dtype = _dtype(nifti)
    offset = float(nifti["vox_offset"])
    if not nifti.sizeof_hdr <= offset <= MAX_VOX_OFFSET:
        raise refusal("the header misplaces the voxels", f"an offset up to {MAX_VOX_OFFSET} bytes", f"{offset:g}")
    slope, intercept = _scaling(nifti)
    header = ImageHeader(nifti, shape, dtype, int(offset), slope, intercept)
    total = header.offset + header.data_bytes
    # Values are held as float32, so small stored types are counted at that size too.
    if max(total, math.prod(shape) * 4) > limits.max_decompressed_bytes:
        raise too_large("the image is too large when decompressed", limits.max_decompressed_bytes, total)
    return header


def refusal(detail: str, expected: str, found: str, hint: str | None = None) -> ImageError:
    """Build the error of an image that cannot be used."""
    return ImageError(detail, expected=expected, found=found, hint=hint, field="image")


def too_large(detail: str, limit: int, found: int) -> ImageTooLargeError:
    """Build the error of an image above a limit, both in bytes."""
    expected, came = (f"{size / 2**20:.1f} MiB" for size in (limit, found))
    hint = "crop the image around the ear"
    return ImageTooLargeError(detail, expected=f"at most {expected}", found=came, hint=hint, field="image")


def _parse(stream: BinaryIO) -> nibabel.Nifti1Header:
    """Read the fixed part of the header, of either version and byte order."""
    block = stream.read(348)
    if len(block) < 348:
        raise refusal("the file is not a NIfTI image", "a NIfTI file (.nii or .nii.gz)", f"{len(block)} bytes")
    sizes = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    if 348 in sizes and block[344:348] == b"n+1\0":
        return nibabel.Nifti1Header(block, check=False)
    if 540 in sizes and block[4:8] == b"n+2\0":
        block += stream.read(192)
        if len(block) == 540:
            return nibabel.Nifti2Header(block, check=False)
    if 348 in sizes:
        hint = "convert header and image pairs (.hdr, .img) and Analyze files to one .nii.gz file"
        raise refusal("the file is not a single-file NIfTI image", "the magic n+1 or n+2", "another one", hint)
    raise refusal("the file is not a NIfTI image", "a NIfTI file (.nii or .nii.gz)", "other content")


def _shape(nifti: nibabel.Nifti1Header, limits: ImageLimits) -> tuple[int, int, int]:
    """Check the dimensions; further axes of length 1 are dropped."""
    dim = [int(size) for size in nifti["dim"]]
    if not 1 <= dim[0] <= 7:
        raise refusal("the header's dimensions make no sense", "a 3-D image", f"{dim[0]} dimensions")
    sizes = dim[1 : dim[0] + 1]
    if any(size < 1 for size in sizes):
        raise refusal("the header's dimensions make no sense", "positive sizes", _times(sizes))
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3 or min(sizes) < 2:
        hint = "choose one volume of the series" if len(sizes) > 3 else None
        raise refusal("the image is not a volume", "a 3-D image", f"a {len(sizes)}-D image of {_times(sizes)}", hint)
    if max(sizes) > limits.max_dimension:
        expected = f"at most {limits.max_dimension} voxels along an axis"
        detail = "the header's dimensions are absurd"
        raise ImageTooLargeError(detail, expected=expected, found=_times(sizes), field="image")
    i, j, k = sizes
    return i, j, k


def _dtype(nifti: nibabel.Nifti1Header) -> np.dtype[np.generic]:
    """Give the stored scalar type in the file's byte order."""
    code = int(nifti["datatype"])
    if code not in _SCALARS:
        found = f"{_OTHERS.get(code, 'unknown')} data (datatype code {code})"
        raise refusal("the voxels are not plain numbers", "one integer or real number per voxel", found)
    dtype = np.dtype(_SCALARS[code]).newbyteorder(nifti.endianness)
    bits = int(nifti["bitpix"])
    if bits != dtype.itemsize * 8:
        raise refusal("the header contradicts itself", f"{dtype.itemsize * 8} bits per voxel", f"{bits}")
    return dtype


def _scaling(nifti: nibabel.Nifti1Header) -> tuple[float, float]:
    """Give slope and intercept; by the standard a slope of 0 (nibabel also writes NaN) means unscaled."""
    slope, intercept = float(nifti["scl_slope"]), float(nifti["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise refusal("the header's scaling cannot be used", "a finite scl_inter", f"{intercept}")
    return slope, intercept


def _times(sizes: list[int]) -> str:
    """Write sizes as 64 x 64 x 32."""
    return " x ".join(str(size) for size in sizes)
