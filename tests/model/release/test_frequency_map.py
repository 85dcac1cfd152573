"""Which vertices of the modiolus count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import InputError
from model.release.figures.frequency_map import read_active

VALUES = np.array([1200.0, 0.0, np.nan, 90.5, -3.0, np.inf])
ACTIVE = [True, False, False, True, False, False]


def test_every_kind_of_file_says_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", VALUES)
    np.savez(tmp_path / "alone.npz", anything=VALUES)
    np.savez(tmp_path / "named.npz", angle_deg=VALUES[::-1], frequency_hz=VALUES)
    (tmp_path / "plain.csv").write_text('1200\n0\n""\n90.5\n-3\ninf\n')
    (tmp_path / "headed.csv").write_text("vertex,frequency_hz\n0,1200\n1,0\n2,\n3,90.5\n4,-3\n5,nan\n")
    (tmp_path / "map.bin").write_bytes(bytes([1, 0, 0, 1, 0, 0]) + b"\xff" * 40)
    for path in sorted(tmp_path.iterdir()):
        assert read_active(path, 6).tolist() == ACTIVE, path.name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("map.csv", b"1\n2\n", "expected 6 values, one per vertex; found 2"),
        ("map.csv", b"", "an empty file"),
        ("map.csv", b"a,b\n1,2\n", "none of them called frequency_hz"),
        ("map.csv", b"f\n1\nx\n", "cannot be read"),
        ("map.csv", b"0\n0\n0\n0\n0\n0\n", "calls no vertex active"),
        ("map.npy", b"no array", "cannot be read"),
        ("map.npz", b"PK no archive", "cannot be read"),
        ("map.bin", b"\x01", "found 1"),
        ("map.txt", b"1", "expected .npy, .npz, .csv or .bin"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_active(tmp_path / name, 6)


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read_active(tmp_path / "map.npy", 1)
    with pytest.raises(InputError, match="is not there"):
        read_active(tmp_path / "none.npy", 1)
