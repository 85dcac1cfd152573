"""Reading a pickled numpy array without executing anything that the file names.

A pickle is a program: it may name any function of any module and call it. Here it is read as a list of instructions
first, and refused when it has one that it can do without. What is left is run with stand-ins for the few names that
numpy's own pickles use, which only collect shape, dtype and bytes; every other name is refused before anything is
imported.
"""

from __future__ import annotations

import io
import pickle  # only its parser is used, see above
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import ReleaseError
from model.release.numpy_records import ArrayRecord, stand_ins
from model.release.pickle_instructions import ARRAY_INSTRUCTIONS, PLAIN_INSTRUCTIONS, check_instructions

_MAX_BYTES = 256 * 2**20

_LOAD_ERRORS = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""The ways in which a damaged or hostile pickle can fail."""


class _RecordingUnpickler(pickle.Unpickler):
    """Knows the given names and no other."""

    def __init__(self, content: bytes, names: dict[tuple[str, str], Any]) -> None:
        """Read bytes."""
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.names = names

    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401
        """Give the stand-in of a name."""
        if (module_name, global_name) not in self.names:
            raise pickle.UnpicklingError(f"names {module_name}.{global_name}"[:120])
        return self.names[module_name, global_name]


def read_pickled_array(path: Path) -> npt.NDArray[np.float64]:
    """Read a file that holds one pickled numpy array of floats.

    Returns:
        The array as float64.

    Raises:
        ReleaseError: the file is missing, too large, damaged, or holds or names anything else.
    """
    content = "one pickled numpy array of floats and nothing else"
    found = read_pickle(path, {}, content, instructions=ARRAY_INSTRUCTIONS)
    try:
        if not isinstance(found, ArrayRecord):
            raise ValueError(f"it holds a {type(found).__name__}")
        values = found.resolve()
        if values.dtype.kind != "f" or values.dtype.itemsize not in (4, 8):
            raise ValueError(f"dtype {values.dtype} is no float")
    except _LOAD_ERRORS as error:
        raise _refusal(path, content, error) from error
    return np.asarray(values, dtype=np.float64)


def read_pickle(
    path: Path,
    names: dict[tuple[str, str], Any],
    content: str,
    *,
    instructions: frozenset[str] = PLAIN_INSTRUCTIONS,
) -> object:
    """Read a pickle of plain values and numpy's, the latter as records.

    Args:
        path: the file.
        names: what else it may name, by module and name; must be safe to call with anything.
        content: what the file is expected to hold, for the error.
        instructions: what it may do, see `check_instructions`.

    Raises:
        ReleaseError: the file is missing, too large, damaged, or names anything else.
    """
    if not path.is_file():
        raise ReleaseError("a file of the release is missing", expected=path.name)
    if path.stat().st_size > _MAX_BYTES:
        raise ReleaseError(f"{path.name} is too large", expected=f"at most {_MAX_BYTES} bytes")
    try:
        raw = path.read_bytes()
        check_instructions(raw, instructions)
        found: object = _RecordingUnpickler(raw, {**stand_ins(), **names}).load()
    except _LOAD_ERRORS as error:
        raise _refusal(path, content, error) from error
    return found


def _refusal(path: Path, content: str, error: Exception) -> ReleaseError:
    """Say why a pickle is refused."""
    return ReleaseError(
        f"{path.name} cannot be used",
        expected=content,
        found=str(error)[:120] or type(error).__name__,
        hint="a file that names other code is refused, and nothing in it was run",
    )
