"""The grid on which ears are rendered: the canonical crop, at its own or at a coarser spacing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.errors import OptionError

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

CANONICAL_SIZE = 128
"""Voxels of the canonical crop along each axis."""

CANONICAL_SPACING_MM = 0.2
"""Voxel size of the canonical crop in millimetres."""


@dataclass(frozen=True)
class RenderGrid:
    """A cubic grid that covers the canonical crop with voxels of `factor` canonical voxels.

    A coarse voxel covers whole canonical voxels: voxel m is centred at canonical index (m + 0.5) * factor - 0.5, so the
    average of 2 x 2 x 2 canonical voxels is the voxel of the grid of factor 2.

    Attributes:
        factor: edge of a voxel in canonical voxels (1: 0.2 mm, 2: 0.4 mm, 4: 0.8 mm).
    """

    factor: int = 1

    def __post_init__(self) -> None:
        """Refuse factors that do not divide the crop.

        Raises:
            OptionError: when the crop is not a whole number of voxels wide.
        """
        if self.factor < 1 or CANONICAL_SIZE % self.factor:
            raise OptionError(
                "The rendering grid does not fit the canonical crop.",
                expected="a factor that divides 128",
                found=str(self.factor),
                hint="Use a spacing of 0.2, 0.4 or 0.8 mm.",
            )

    @classmethod
    def of_spacing(cls, spacing_mm: float) -> RenderGrid:
        """Give the grid of a voxel size in millimetres.

        Raises:
            OptionError: when `spacing_mm` is not 0.2 mm times a divisor of 128.
        """
        factor = round(spacing_mm / CANONICAL_SPACING_MM)
        if abs(factor * CANONICAL_SPACING_MM - spacing_mm) > 1e-6:
            raise OptionError(
                "The rendering spacing is not a multiple of the canonical one.",
                expected="0.2, 0.4 or 0.8 mm",
                found=f"{spacing_mm} mm",
            )
        return cls(factor)

    @property
    def size(self) -> int:
        """Voxels along each axis."""
        return CANONICAL_SIZE // self.factor

    @property
    def spacing_mm(self) -> float:
        """Voxel size in millimetres."""
        return self.factor * CANONICAL_SPACING_MM

    @property
    def centres(self) -> FloatArray:
        """(size,) canonical indices of the voxel centres along one axis."""
        return np.asarray((np.arange(self.size) + 0.5) * self.factor - 0.5, dtype=np.float64)

    @property
    def to_canonical(self) -> FloatArray:
        """(4, 4) affine from indices of this grid to canonical ijk."""
        affine = np.diag([float(self.factor)] * 3 + [1.0])
        affine[:3, 3] = 0.5 * self.factor - 0.5
        return affine

    def points(self) -> Float32Array:
        """(3, size, size, size) canonical ijk of all voxel centres."""
        centres = self.centres.astype(np.float32)
        return np.stack(np.meshgrid(centres, centres, centres, indexing="ij"))
