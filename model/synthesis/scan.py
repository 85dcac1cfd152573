"""The scanner's own frame: which way its axis points in the ear, and where the pixels of its slices lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.errors import ImageError, OptionError
from model.synthesis.grid import CANONICAL_SIZE, CANONICAL_SPACING_MM, FloatArray

_CENTRE_IJK = (CANONICAL_SIZE - 1) / 2
_SHEAR = 0.01
_UNEVEN = 0.01


@dataclass(frozen=True)
class ScanFrame:
    """Axes u, v (within slices) and w (the scanner's axis), in millimetres from the centre of the canonical crop.

    Attributes:
        rotation: (3, 3) rows are the unit vectors u, v, w along the canonical axes.
    """

    rotation: FloatArray

    @property
    def from_canonical(self) -> FloatArray:
        """(4, 4) affine, canonical ijk -> u, v, w in mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.rotation * CANONICAL_SPACING_MM
        affine[:3, 3] = -affine[:3, :3] @ np.full(3, _CENTRE_IJK)
        return affine


@dataclass(frozen=True)
class Slices:
    """Pixels of evenly spaced slices that lie above each other, in a scan frame.

    Attributes:
        uv_mm: (p, 2) pixel centres, the same in every slice.
        heights_mm: (s,) increasing positions of the slices along w.
        pixel_mm: edge of a pixel over which the reconstruction is averaged; 0 to sample it at the centres.
    """

    uv_mm: FloatArray
    heights_mm: FloatArray
    pixel_mm: float = 0.0


def frame_of_normal(normal: npt.ArrayLike) -> ScanFrame:
    """Give a scan frame from the line along which slices follow each other, the same for either direction of it.

    Args:
        normal: (3,) along the canonical axes, of any length.
    """
    w = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
    w = w * np.sign(w[np.argmax(np.abs(w))])
    helper = np.eye(3)[np.argmin(np.abs(w))]
    u = helper - (helper @ w) * w
    u /= np.linalg.norm(u)
    return ScanFrame(np.stack([u, np.cross(w, u), w]))


def slice_axis(affine: npt.ArrayLike) -> int:
    """Tell which array axis of an image runs from slice to slice.

    That is the axis whose spacing differs from that of the two others; when all are alike, the one nearest to the
    patient's long axis.

    Args:
        affine: (4, 4) ijk -> RAS mm.
    """
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    for axis in range(3):
        first, second = np.delete(spacing, axis)
        alike = abs(first - second) <= _UNEVEN * first
        if alike and abs(spacing[axis] - first) > _UNEVEN * first:
            return axis
    return int(np.argmax(np.abs(columns[2]) / spacing))


@dataclass(frozen=True)
class ImageScan:
    """How an image was scanned.

    Attributes:
        axis: the array axis from slice to slice.
        frame: the scan frame.
        from_image: (4, 4) affine, array ijk -> u, v, w in mm.
        shape: voxels along i, j, k.
    """

    axis: int
    frame: ScanFrame
    from_image: FloatArray
    shape: tuple[int, int, int]

    def slices(self) -> Slices:
        """Give the pixels and slices; pixels are in C order of the two other axes, slices by increasing height."""
        counts = np.array(self.shape)
        counts[self.axis] = 1
        pixels = np.indices(tuple(counts)).reshape(3, -1).T
        uv = (pixels @ self.from_image[:3, :3].T + self.from_image[:3, 3])[:, :2]
        first, step = self.from_image[2, 3], self.from_image[2, self.axis]
        return Slices(uv, np.sort(first + step * np.arange(self.shape[self.axis])))

    def to_array(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Put (p, s) values of pixels and slices, as `slices` orders them, back into an [i, j, k] array."""
        if self.from_image[2, self.axis] < 0:
            pixel_values = pixel_values[:, ::-1]
        others = [size for axis, size in enumerate(self.shape) if axis != self.axis]
        return np.ascontiguousarray(np.moveaxis(pixel_values.reshape(*others, -1), -1, self.axis))


def scan_of_image(
    affine: npt.ArrayLike, ras_to_canonical: npt.ArrayLike, shape: tuple[int, int, int], axis: int | None = None
) -> ImageScan:
    """Say how an image was scanned, from where it lies.

    Args:
        affine: (4, 4) array ijk -> RAS mm.
        ras_to_canonical: (4, 4) RAS mm -> canonical ijk.
        shape: voxels along i, j, k.
        axis: the array axis from slice to slice, or None to tell it from the spacing, see `slice_axis`.

    Raises:
        ImageError: the array axes are not at right angles.
        OptionError: no such axis.
    """
    if axis is not None and axis not in (0, 1, 2):
        raise OptionError("there is no such array axis", expected="0, 1 or 2", found=str(axis), field="slice_axis")
    matrix = np.asarray(affine, dtype=np.float64)
    directions = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR:
        raise ImageError(
            "the image's axes are not at right angles",
            expected="an image without shear",
            found="a sheared affine",
            hint="resample it to slices that lie straight above each other",
            field="image",
        )
    axis = slice_axis(matrix) if axis is None else axis
    to_canonical = np.asarray(ras_to_canonical, dtype=np.float64) @ matrix
    frame = frame_of_normal(to_canonical[:3, axis])
    return ImageScan(axis, frame, np.asarray(frame.from_canonical @ to_canonical), shape)
