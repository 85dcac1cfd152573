"""Activation maps whose structures are known, and a predictor that finds them; without torch, so quick to start."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from model.errors import ReleaseError
from model.reproduce.predictor import Prediction, with_surfaces
from model.structures import LABYRINTH, MODIOLUS

GRID = (10, 12, 14)


class ThresholdMaps:
    """Channel c of a map is the c-th structure, in where it is above a level."""

    method, map_suffixes, spacing_mm = "threshold", ("_0000.nii.gz", ".nii.gz"), 0.2
    structures = (MODIOLUS.id, LABYRINTH.id)

    def __init__(self, level: float = 0.5) -> None:
        """Keep the level."""
        self.level = level
        self.fingerprint = f"{int(level * 100):032x}"

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Take maps of two channels on the grid."""
        if shape != (2, *GRID):
            raise ReleaseError("the map does not fit", found=str(shape))

    def predict(self, activation: npt.NDArray[np.float32]) -> Prediction:
        """Give the voxels above the level."""
        return with_surfaces(dict(zip(self.structures, activation > self.level, strict=True)))


def blocks(case: int) -> npt.NDArray[np.float32]:
    """Give the map of a case: a small and a large block whose place and size tell the case and the axes."""
    values = np.zeros((2, *GRID), dtype=np.float32)
    values[0, 2:4, 3:6, 4 : 6 + case] = 1
    values[1, 1:6, 2:8, 2:10] = 1
    return values


def save_map(folder: Path, case: str, values: npt.NDArray[np.float32], affine: npt.ArrayLike | None = None) -> Path:
    """Write a map as the release does, without an affine of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case}.nii.gz"
    nibabel.Nifti1Image(values, np.eye(4) if affine is None else np.asarray(affine)).to_filename(path)
    return path


def save_cases(folder: Path, count: int) -> Path:
    """Write the maps of so many cases and give their folder."""
    for case in range(count):
        save_map(folder, f"case{case}", blocks(case))
    return folder
