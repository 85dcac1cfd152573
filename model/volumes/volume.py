"""A patient image in memory, and the limits within which images are taken."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted as an image; everything but the voxel values is checked on the header alone.

    Attributes:
        max_file_bytes: size of the file as it comes.
        max_decompressed_bytes: size of header and voxels, decompressed.
        max_dimension: voxels along an axis.
        min_spacing_mm, max_spacing_mm: distance between voxels along an axis; thicker slices than 2 mm miss whole
            turns of the cochlea.
        min_extent_mm: field of view along each axis; the cochlea alone is about 9 mm wide, crops of small models 6.4.
    """

    max_file_bytes: int = 512 * 2**20
    max_decompressed_bytes: int = 1024 * 2**20
    max_dimension: int = 2048
    min_spacing_mm: float = 0.02
    max_spacing_mm: float = 2.0
    min_extent_mm: float = 5.0


@dataclass(frozen=True)
class Volume:
    """A scalar image with its place in the patient.

    Attributes:
        data: float32 values [i, j, k], scaled as the header says, all finite.
        affine: (4, 4) ijk -> RAS mm.
        header: NIfTI header as it came.
        warnings: what is unusual about the image, in sentences for people.
        affine_declared: whether the file says where the image lies; when not, the array axes are taken as L, P, S.
    """

    data: npt.NDArray[np.float32]
    affine: FloatArray
    header: nibabel.Nifti1Header
    warnings: tuple[str, ...] = ()
    affine_declared: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j, k in millimetres, by the affine."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)
