"""Archives that lie, swell or reach out are refused; what they unpack stays under its caps."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from api.batches.archive import ArchiveError, unpack
from api.problems import ServiceError

CAPS = (3, 1000, 2000)


def write(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_members_come_by_name_under_neutral_names(tmp_path: Path) -> None:
    files = unpack(write(tmp_path, {"b.nii": b"2", "A.NII.GZ": b"1" * 1000}), tmp_path, *CAPS)
    assert [(name, path.name, path.read_bytes()[:1]) for name, path in files.items()] == [
        ("A.NII.GZ", "member-0", b"1"),
        ("b.nii", "member-1", b"2"),
    ]


@pytest.mark.parametrize("name", ["../a.nii", "/a.nii", "x/a.nii", "x\\a.nii", "C:a.nii", "a.txt", "x/", "~/.nii"])
def test_paths_and_other_files_are_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        unpack(write(tmp_path, {name: b"x"}), tmp_path, *CAPS)
    assert name not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_what_swells_is_stopped_at_its_cap(tmp_path: Path) -> None:
    for members in ({"a.nii": b"0" * 10**7}, {f"{n}.nii": b"0" * 999 for n in range(3)}):
        with pytest.raises(ServiceError, match="larger"):
            unpack(write(tmp_path, members), tmp_path, *CAPS)
        assert all(path.stat().st_size <= 1000 for path in tmp_path.glob("member-*"))
    with pytest.raises(ArchiveError, match="too many"):
        unpack(write(tmp_path, {f"{n}.nii": b"" for n in range(4)}), tmp_path, *CAPS)


def test_a_size_that_lies_does_not_help(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.nii": b"0" * 10**6})
    content = path.read_bytes()
    path.write_bytes(content.replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises((ArchiveError, ServiceError)):
        unpack(path, tmp_path, *CAPS)


def test_damage_of_any_byte_is_no_fault_of_the_service(tmp_path: Path) -> None:
    good = write(tmp_path, {"a.nii": bytes(range(200))}).read_bytes()
    for place in range(len(good)):
        path = tmp_path / "archive"
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            unpack(path, tmp_path, *CAPS)
        except (ArchiveError, ServiceError):
            continue
    for cut in (0, 1, len(good) // 2):
        path.write_bytes(good[:cut])
        with pytest.raises(ArchiveError, match="damaged"):
            unpack(path, tmp_path, *CAPS)


def test_a_locked_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO(write(tmp_path, {"a.nii": b"x"}).read_bytes())
    content = bytearray(buffer.getvalue())
    # General purpose bit 0, in the local and the central header.
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(tmp_path / "archive", tmp_path, *CAPS)
