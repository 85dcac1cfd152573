"""Files of points: plain numpy arrays, pickled or not, in voxels of the crop's file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import InputError
from model.release.pickled_array import read_pickled_array
from model.structures import STRUCTURES
from model.training.crops.case import WHOLE

FloatArray = npt.NDArray[np.float64]

TOGETHER = "vertices"
"""Key of an array of all points of an .npz file."""

STRUCTURE_NAMES: Mapping[str, str] = {name: s.id for s in STRUCTURES for name in (s.id, s.code, s.code.lower())}
"""Names of structures in files, and their ids."""


def read_points(path: Path) -> dict[str, FloatArray]:
    """Read the points of one case.

    An .npz file has either the one array `vertices` or an array for each structure, named by its id or code; a .pkl
    file is one pickled array, which is read without running anything that it names.

    Returns:
        (M, 3) positions, voxels of the file of the crop, by structure id, or all under `WHOLE`.

    Raises:
        InputError: the file cannot be read, or its arrays are not finite points.
    """
    arrays = _read_npz(path) if path.suffix == ".npz" else {WHOLE: read_pickled_array(path)}
    return {name: _as_points(name, array) for name, array in arrays.items()}


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an .npz file by structure id; pickled objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError("the vertices cannot be read", found="no .npz file of plain arrays") from error
    if list(arrays) == [TOGETHER]:
        return {WHOLE: arrays[TOGETHER]}
    unknown = [name for name in arrays if name not in STRUCTURE_NAMES]
    named = {STRUCTURE_NAMES[name]: array for name, array in arrays.items() if name in STRUCTURE_NAMES}
    if unknown or not arrays or len(named) < len(arrays):
        raise InputError(
            f"the arrays of the .npz file are neither {TOGETHER} alone nor one for each structure",
            found=", ".join(sorted(arrays))[:120] or "none",
        )
    return {structure.id: named[structure.id] for structure in STRUCTURES if structure.id in named}


def _as_points(name: str, array: npt.NDArray[Any]) -> FloatArray:
    """Check that an array holds points."""
    what = "vertices" if name == WHOLE else f"vertices of {name}"
    if array.ndim != 2 or array.shape[1] != 3 or len(array) < 4 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{what} are not an array of 4 or more points", found=f"shape {array.shape} of type {array.dtype.name}"
        )
    points = np.asarray(array, dtype=np.float64)
    if not np.isfinite(points).all():
        raise InputError(f"{what} are not finite", found="NaN or infinity")
    return points
