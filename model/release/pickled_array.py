"""Reading a pickled numpy array without executing anything that the file names.

A pickle is a program: it may name any function of any module and call it. Here it is read as a list of instructions
first, and refused when it has one that numpy's own pickles of arrays do without. What is left is run with stand-ins for
the few names that those use, which only collect shape, dtype and bytes; every other name is refused before anything is
imported. Numpy's own reconstruction is not called either, since it trusts the state it is given.
"""

from __future__ import annotations

import io
import math
import pickle  # only its parser is used, see above
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import ReleaseError
from model.release.pickle_instructions import check_instructions

_MAX_BYTES = 256 * 2**20
_CODES = ("f4", "f8")
_MAX_DIMENSIONS = 4

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


class _DtypeRecord:
    """Stands in for `numpy.dtype`."""

    def __init__(self, code: str, *_: bool) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def resolve(self) -> np.dtype[Any]:
        """Give the dtype, a float."""
        if not isinstance(self.code, str) or not isinstance(self.order, str):
            raise TypeError("the dtype is not as numpy writes it")
        if self.code not in _CODES or self.order not in ("<", ">", "="):
            raise ValueError(f"dtype {self.code!r:.20} is no float")
        return np.dtype(self.order + self.code)


class _ArrayRecord:
    """Stands in for an array under reconstruction."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def resolve(self) -> npt.NDArray[np.float64]:
        """Make the array from its shape, dtype and bytes."""
        _, shape, dtype, column_major, content = self.state
        if not isinstance(dtype, _DtypeRecord) or not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
            raise ValueError("the state of the array is not as numpy writes it")
        if not all(type(size) is int and 0 <= size <= _MAX_BYTES for size in shape):
            raise ValueError("the shape of the array is not as numpy writes it")
        raw = content.encode("latin1") if isinstance(content, str) else bytes(memoryview(content))
        resolved = dtype.resolve()
        if math.prod(shape) * resolved.itemsize != len(raw):
            raise ValueError("the bytes are not as many as the shape says")
        values = np.frombuffer(raw, resolved).reshape(shape, order="F" if column_major else "C")
        return np.asarray(values, dtype=np.float64)


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _ArrayRecord:  # noqa: ANN401
    """Stand in for the function that pickles of protocol 5 name."""
    record = _ArrayRecord()
    record.__setstate__((1, shape, dtype, order == "F", content))
    return record


def _encode(text: Any, encoding: Any) -> bytes:  # noqa: ANN401
    """Stand in for `_codecs.encode`, by which protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("only latin1 text stands for bytes")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ArrayRecord,
    ("numpy", "dtype"): _DtypeRecord,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _ArrayRecord for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _RecordingUnpickler(pickle.Unpickler):
    """Knows the stand-ins and no other name."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401
        """Give the stand-in of a name."""
        if (module_name, global_name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"names {module_name}.{global_name}"[:120])
        return _STAND_INS[module_name, global_name]


def read_pickled_array(path: Path) -> npt.NDArray[np.float64]:
    """Read a file that holds one pickled numpy array of floats.

    Returns:
        The array as float64.

    Raises:
        ReleaseError: the file is missing, too large, damaged, or holds or names anything else.
    """
    if not path.is_file():
        raise ReleaseError("a file of the release is missing", expected=path.name)
    if path.stat().st_size > _MAX_BYTES:
        raise ReleaseError(f"{path.name} is too large", expected=f"at most {_MAX_BYTES} bytes")
    try:
        content = path.read_bytes()
        check_instructions(content)
        found = _RecordingUnpickler(io.BytesIO(content), encoding="latin1").load()
        if not isinstance(found, _ArrayRecord):
            raise ValueError(f"it holds a {type(found).__name__}")
        return found.resolve()
    except _LOAD_ERRORS as error:
        raise ReleaseError(
            f"{path.name} cannot be used",
            expected="one pickled numpy array of floats and nothing else",
            found=str(error)[:120] or type(error).__name__,
            hint="a file that names other code is refused, and nothing in it was run",
        ) from error
