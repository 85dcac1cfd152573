"""Stand-ins for the names that numpy's own pickles use, which collect shape, dtype and bytes and run nothing.

A pickle is a program: it may name any function of any module and call it. Numpy's own reconstruction is not called
either, since it trusts the state it is given; an array is made here only once its bytes are as many as its shape says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")

_MOST_DIMENSIONS, _MOST_VALUES = 8, 2**32


class DtypeRecord:
    """Stands in for `numpy.dtype`."""

    def __init__(self, code: str, *_: bool) -> None:
        """Keep the code, such as `f4`."""
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Keep the order of bytes."""
        self.order = state[1]

    def resolve(self) -> np.dtype[Any]:
        """Give the dtype, a number or truth value.

        Raises:
            ValueError: it is another.
            TypeError: it is not stated as text.
        """
        # To compare or write down what is no text might never end.
        if not isinstance(self.code, str) or not isinstance(self.order, str):
            raise TypeError("the dtype is not as numpy writes it")
        if self.code not in _CODES or self.order not in ("<", ">", "=", "|"):
            raise ValueError(f"dtype {self.code!r:.20} is no number")
        return np.dtype(self.order + self.code)


class ArrayRecord:
    """Stands in for an array under reconstruction."""

    def __init__(self, *_: object) -> None:
        """Wait for the state."""
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Keep the state."""
        self.state = state

    def resolve(self) -> npt.NDArray[Any]:
        """Make the array from its shape, dtype and bytes.

        Raises:
            ValueError: it holds anything but numbers, or the state is not as numpy writes it; a state of other types
                may raise TypeError or AttributeError.
        """
        _, shape, dtype, column_major, content = self.state
        if not isinstance(dtype, DtypeRecord) or not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
            raise ValueError("the state of the array is not as numpy writes it")
        if not all(type(size) is int and 0 <= size < _MOST_VALUES for size in shape):
            raise ValueError("the shape of the array is not as numpy writes it")
        return _from_bytes(content, dtype.resolve(), shape, "F" if column_major else "C")


class ScalarRecord:
    """Stands in for a numpy scalar."""

    def __init__(self, dtype: object, content: object = b"") -> None:
        """Keep dtype and bytes."""
        self.dtype, self.content = dtype, content

    def __setstate__(self, state: object) -> None:
        """Refuse a state, which numpy's scalars have not.

        Raises:
            ValueError: always.
        """
        raise ValueError("a scalar has no state")

    def resolve(self) -> npt.NDArray[Any]:
        """Give the scalar as an array of no dimension.

        Raises:
            ValueError: it is no number, or not as numpy writes it.
        """
        if not isinstance(self.dtype, DtypeRecord):
            raise ValueError("the dtype of the scalar is not as numpy writes it")
        return _from_bytes(self.content, self.dtype.resolve(), (), "C")


def stand_ins() -> dict[tuple[str, str], Callable[..., Any]]:
    """Give the stand-ins by module and name.

    The functions are made anew each time: a pickle can set attributes of what it names, and what it sets must not
    outlive its reading.
    """

    def from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> ArrayRecord:  # noqa: ANN401
        record = ArrayRecord()
        record.__setstate__((1, shape, dtype, order == "F", content))
        return record

    def encode(text: Any, encoding: Any) -> bytes:  # noqa: ANN401
        # By this, protocol 2 writes bytes.
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("only latin1 text stands for bytes")
        return text.encode("latin1")

    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): ArrayRecord,
        ("numpy", "dtype"): DtypeRecord,
        ("_codecs", "encode"): encode,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = ArrayRecord
        table[f"{core}.multiarray", "scalar"] = ScalarRecord
        table[f"{core}.numeric", "_frombuffer"] = from_buffer
    return table


def _from_bytes(content: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    """Make an array, when its bytes are as many as the shape says."""
    raw = content.encode("latin1") if isinstance(content, str) else bytes(memoryview(content))
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError("the bytes are not as many as the shape says")
    return np.frombuffer(raw, dtype).reshape(shape, order=order)
