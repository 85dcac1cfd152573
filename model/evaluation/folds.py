"""Where a displacement field folds space over around the structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.geometry.spaces import apply_affine

MARGIN_MM = 0.8
"""How far beyond a structure's bounding box the field still counts."""


@dataclass(frozen=True)
class Folds:
    """How a field folds.

    Attributes:
        share: part of the grid cells whose Jacobian determinant is zero or negative.
        minimum: the smallest determinant; 1 where nothing moves.
    """

    share: float
    minimum: float


@dataclass(frozen=True)
class DisplacementField:
    """A displacement field p -> p + ddf(p) on a grid that lies somewhere in the patient.

    Attributes:
        ddf_ijk: (3, I, J, K) displacements in voxels of the grid, channel c along axis c.
        ijk_to_ras: (4, 4) voxel indices of the grid -> RAS mm.
        known: (I, J, K) where the field is known, None for everywhere; the jump at the edge of that is no fold.
    """

    ddf_ijk: npt.NDArray[np.floating]
    ijk_to_ras: npt.NDArray[np.float64]
    known: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        shape = self.ddf_ijk.shape
        if len(shape) != 4 or shape[0] != 3 or min(shape[1:]) < 2:
            raise ValueError(f"ddf_ijk: expected shape (3, I, J, K) with at least two voxels an axis, found {shape}")
        if self.known is not None and self.known.shape != shape[1:]:
            raise ValueError(f"known: expected shape {shape[1:]}, found {self.known.shape}")

    def folds_around(self, points_ras: npt.NDArray[np.float64]) -> Folds | None:
        """Give the folds in the bounding box of points, along the axes of the grid, and `MARGIN_MM` around it.

        The determinant is that of the Jacobian by forward differences; it is the same in voxels and in millimetres.

        Args:
            points_ras: (N, 3) points of the structure in RAS mm, N at least 1.

        Returns:
            The folds, or None when nothing is known of the field in the box.
        """
        points = apply_affine(np.linalg.inv(self.ijk_to_ras), points_ras)
        size = np.array(self.ddf_ijk.shape[1:])
        margin = MARGIN_MM / np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        low = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
        high = np.minimum(np.ceil(points.max(axis=0) + margin), size - 1).astype(int)
        if (high <= low).any():
            return None
        box = tuple(slice(start, stop + 1) for start, stop in zip(low, high, strict=True))
        determinant = jacobian_determinant(self.ddf_ijk[:, *box])
        if self.known is not None:
            known = self.known[box]
            whole = known[:-1, :-1, :-1] & known[1:, :-1, :-1] & known[:-1, 1:, :-1] & known[:-1, :-1, 1:]
            determinant = determinant[whole]
            if not determinant.size:
                return None
        return Folds(float(np.mean(determinant <= 0)), float(determinant.min()))


def jacobian_determinant(ddf_ijk: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Give the Jacobian determinant of p -> p + ddf(p) by forward differences.

    Args:
        ddf_ijk: (3, I, J, K) displacements in voxels, channel c along axis c.

    Returns:
        (I-1, J-1, K-1) determinants of the cells.
    """
    field = np.asarray(ddf_ijk, dtype=np.float64)
    base = field[:, :-1, :-1, :-1]
    ahead = (field[:, 1:, :-1, :-1], field[:, :-1, 1:, :-1], field[:, :-1, :-1, 1:])
    # Column a is what happens to a step along axis a.
    columns = [step - base + np.eye(3)[:, axis, None, None, None] for axis, step in enumerate(ahead)]
    return np.asarray(np.einsum("cijk,cijk->ijk", columns[0], np.cross(columns[1], columns[2], axis=0)))
