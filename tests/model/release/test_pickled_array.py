"""Pickles of arrays are read; pickles of anything else do nothing but fail."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import shared_path

from model.errors import ReleaseError
from model.release.pickled_array import read_pickled_array

VALUES = np.random.default_rng(3).normal(size=(5, 3))


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        """Keep the file that the command makes."""
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the command."""
        return os.system, (f"touch '{self.mark}'",)


class Forged:
    """Is pickled as something else."""

    def __init__(self, *reduced: Any) -> None:  # noqa: ANN401
        """Keep what it is pickled as."""
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        """Give what it is pickled as."""
        return self.reduced


def store(folder: Path, content: object, protocol: int = 4) -> Path:
    """Pickle something."""
    path = folder / "array.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_protocol_are_read(tmp_path: Path, protocol: int, dtype: str, order: Any) -> None:  # noqa: ANN401
    array = np.asarray(VALUES, dtype=dtype, order=order)
    found = read_pickled_array(store(tmp_path, array, protocol))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, array.astype(np.float64))


def test_older_module_name_is_known(tmp_path: Path) -> None:
    path = store(tmp_path, VALUES, 2)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    np.testing.assert_array_equal(read_pickled_array(path), VALUES)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for content in (Hostile(mark), [VALUES, Hostile(mark)], {"a": Hostile(mark)}):
        path = store(tmp_path, content)
        with pytest.raises(ReleaseError, match="nothing in it was run"):
            read_pickled_array(path)
        assert not mark.exists()
    # The same pickle does run its command elsewhere, so the test would notice.
    pickle.loads(pickle.dumps(Hostile(mark)))  # noqa: S301
    assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        1,
        "text",
        [1.0],
        None,
        np.array([{"a": 1}], dtype=object),
        np.array(["a"]),
        np.array([1, 2]),
        np.array([True]),
        np.float64(1.0),
        np.zeros(2, dtype=[("x", "f4")]),
        np.dtype("f4"),
        np.ndarray,
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_content_is_refused(tmp_path: Path, content: object, protocol: int) -> None:
    with pytest.raises(ReleaseError):
        read_pickled_array(store(tmp_path, content, protocol))


def test_the_constructs_that_name_code_are_refused_one_by_one(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    argument = f"touch '{mark}'".encode()
    quoted = b'S"' + argument + b'"\n'
    short = b"U" + bytes([len(argument)]) + argument
    programs = {
        "REDUCE": b"cos\nsystem\n(" + quoted + b"tR.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + short + b"\x85R.",
        "INST": b"(" + quoted + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + quoted + b"o.",
        "NEWOBJ": b"\x80\x02cbuiltins\neval\nU\x011\x85\x81.",
        "BUILD": b"\x80\x02ccopyreg\ndispatch_table\n}U\x01aK\x01sb.",
        "EXT1": b"\x80\x02\x82\x01.",
        "PERSID": b"Pname\n.",
        "an attribute of a known name": b"\x80\x02c_codecs\nencode\n}U\x0c__defaults__K\x01\x85s\x86b.",
    }
    for name, program in programs.items():
        (tmp_path / "array.pkl").write_bytes(program)
        with pytest.raises(ReleaseError, match="nothing in it was run"):
            read_pickled_array(tmp_path / "array.pkl")
        assert not mark.exists(), name
    # One of them does run its command elsewhere, so the test would notice.
    pickle.loads(programs["INST"])  # noqa: S301
    assert mark.exists()


def bomb(depth: int) -> bytes:
    """Give a tuple that holds the one before twice, so deep that to write or hash it would never end."""
    return b"U\x01a" + b"q\x00h\x00\x86" * depth


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # a table of two thousand million entries
        b"Np2147483647\n.",
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",  # bytes of that many
        b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b"x.",
        b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"N.",
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",  # a number of that many bytes
        b"\x80\x02cnumpy\ndtype\n" + bomb(60) + b"\x85R.",
    ],
)
def test_claims_of_size_cost_nothing(tmp_path: Path, program: bytes) -> None:
    (tmp_path / "array.pkl").write_bytes(program)
    with pytest.raises(ReleaseError, match=r"array\.pkl"):
        read_pickled_array(tmp_path / "array.pkl")


@pytest.mark.parametrize("shape", [(2**62, 0), (2**40, 3), (10**300, 0), (1,) * 65, ("5", 3), (-5, -3), "ab", None])
def test_shapes_that_no_array_has_are_refused(tmp_path: Path, shape: object) -> None:
    array = np.array(VALUES)
    reduced: Any = array.__reduce__()
    make, arguments, state = reduced[:3]
    for stated in (shape, array.shape):
        path = store(tmp_path, Forged(make, arguments, (state[0], stated, *state[2:])), 2)
        if stated == array.shape:
            np.testing.assert_array_equal(read_pickled_array(path), VALUES)
        else:
            with pytest.raises(ReleaseError):
                read_pickled_array(path)


def test_a_dtype_that_would_take_for_ever_to_write_down_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps(VALUES, 2)
    code = content.index(b"X\x02\x00\x00\x00f8")
    (tmp_path / "array.pkl").write_bytes(content[:code] + bomb(60) + content[code + 7 :])
    with pytest.raises(ReleaseError, match="as numpy writes it"):
        read_pickled_array(tmp_path / "array.pkl")


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 400), st.integers(0, 255), st.integers(0, 400))
def test_damaged_pickles_are_refused_or_read(tmp_path_factory: Any, place: int, value: int, cut: int) -> None:  # noqa: ANN401
    content = bytearray(pickle.dumps(VALUES, 4))
    content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content[: len(content) - cut % 20])
    # The changed byte may lie in the numbers; any other failure than the typed one would end the test.
    with contextlib.suppress(ReleaseError):
        read_pickled_array(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"none\.pkl"):
        read_pickled_array(tmp_path / "none.pkl")


def test_file_of_the_release() -> None:
    vertices = read_pickled_array(shared_path("release/data/atlas/atlas_all_vtx.pkl"))
    assert vertices.shape == (1128, 3)
