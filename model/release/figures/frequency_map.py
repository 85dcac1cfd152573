"""Which vertices of the modiolus count: those that a frequency map calls active.

The spiral ganglion, of which an implant stimulates a frequency at each place, takes only part of the modiolus; the
published errors of the modiolus are those of these vertices.

| file | what |
|---|---|
| `.npy` | (N,) numbers, one per vertex of the modiolus |
| `.npz` | the same, alone or under `frequency_hz` |
| `.csv` | one line per vertex, in its only column or in that called `frequency_hz`; empty is not active |
| `.bin` | the published `sgfreqmapping.bin`: a byte per vertex, not zero where it is active; the rest is not read |

A vertex is active where its value is finite and greater than zero.
"""

from __future__ import annotations

import csv
import math
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import InputError
from model.evaluation.truth import BoolArray

PUBLISHED_FILE = "sgfreqmapping.bin"
"""Name of the published map in the published data folder."""

VALUES = "frequency_hz"
"""Name of the values in files that name their columns."""


def read_active(path: Path, vertices: int) -> BoolArray:
    """Read which vertices of the modiolus are active.

    Args:
        path: file of one of the kinds above.
        vertices: how many vertices the modiolus has.

    Returns:
        (vertices,) True where a vertex counts.

    Raises:
        InputError: the file is missing, damaged, of another kind or length, or calls no vertex active.
    """
    if not path.is_file():
        raise InputError("the frequency map is not there", expected="an existing file", found=path.name)
    suffix = path.suffix.lower()
    try:
        if suffix == ".bin":
            values = np.frombuffer(path.read_bytes(), np.uint8)[:vertices].astype(np.float64)
        elif suffix in (".npy", ".npz"):
            values = _from_numpy(path)
        elif suffix == ".csv":
            values = _from_csv(path)
        else:
            raise InputError("the frequency map cannot be read", expected=".npy, .npz, .csv or .bin", found=path.name)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error)[:120]
        raise InputError("the frequency map cannot be read", expected=f"a sound {suffix} file", found=reason) from error
    if values.shape != (vertices,):
        raise InputError(
            "the frequency map does not fit the modiolus of the truth",
            expected=f"{vertices} values, one per vertex",
            found=f"{len(values)}" if values.ndim == 1 else f"shape {values.shape}",
        )
    active = np.isfinite(values) & (np.nan_to_num(values) > 0)
    if not active.any():
        raise InputError("the frequency map calls no vertex active", expected="some values greater than zero")
    return np.asarray(active)


def _from_numpy(path: Path) -> npt.NDArray[np.float64]:
    """Read the values of a NumPy file; nothing in it is executed."""
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return np.asarray(content, dtype=np.float64)
    with content:
        names = list(content)
        if VALUES not in names and len(names) != 1:
            raise ValueError(f"arrays {', '.join(names) or 'none'}, none of them {VALUES}")
        return np.asarray(content[VALUES if VALUES in names else names[0]], dtype=np.float64)


def _from_csv(path: Path) -> npt.NDArray[np.float64]:
    """Read the values of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    if not lines:
        raise ValueError("an empty file")
    first = [cell.strip() for cell in lines[0]]
    named = any(cell and not _is_number(cell) for cell in first)
    if len(first) > 1 and VALUES not in first:
        raise ValueError(f"{len(first)} columns, none of them called {VALUES}")
    at = first.index(VALUES) if VALUES in first else 0
    cells = [line[at].strip() if at < len(line) else "" for line in lines[named:]]
    return np.array([float(cell) if cell else math.nan for cell in cells])


def _is_number(text: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
