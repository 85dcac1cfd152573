"""How results in the published layout are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.errors import OptionError

SPACING_MM = 0.2
"""Voxel size of the published crops, in mm; taken where nothing else says it."""


@dataclass(frozen=True)
class FigureOptions:
    """How to measure.

    Attributes:
        spacing_mm: size of a voxel in all directions; None takes the affine of the masks, and 0.2 where there is none.
        voxelize: whether masks that are not there are made of the meshes.
        ignore_affines: whether masks are compared voxel by voxel by index, whatever their affines say; their voxel
            size is not taken from them then.
    """

    spacing_mm: float | None = None
    voxelize: bool = False
    ignore_affines: bool = False

    def __post_init__(self) -> None:
        """Refuse a voxel size that is none.

        Raises:
            OptionError: it is not a positive number.
        """
        if self.spacing_mm is not None and not (math.isfinite(self.spacing_mm) and self.spacing_mm > 0):
            raise OptionError("the voxel size cannot be used", expected="mm above zero", found=f"{self.spacing_mm:g}")
