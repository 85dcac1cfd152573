"""The NIfTI files of a ZIP archive, unpacked under caps: what an archive says about itself is not believed."""

from __future__ import annotations

import errno
import zipfile
import zlib
from pathlib import Path

from api.problems import ServiceError
from api.uploads import too_large
from model.errors import InputError

_CHUNK = 2**20
_SUFFIXES = (".nii", ".nii.gz")
ARCHIVE = "archive"


class ArchiveError(InputError):
    """The archive cannot be used."""


def unpack(archive: Path, folder: Path, max_items: int, max_file_bytes: int, max_total_bytes: int) -> dict[str, Path]:
    """Unpack the images of an archive.

    Args:
        archive: the ZIP file.
        folder: where the images go, under names of their own.
        max_items: cap on members.
        max_file_bytes: cap on each unpacked image.
        max_total_bytes: cap on all of them together.

    Returns:
        The unpacked files by the name of the member, in the order of these names.

    Raises:
        ArchiveError: when it is damaged, or holds anything but NIfTI files without folders.
        ServiceError: when the content is too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, max_items)
            left, files = max_total_bytes, {}
            for place, member in enumerate(members):
                target = folder / f"member-{place}"
                left -= _extract(opened, member, target, max_file_bytes, left)
                files[member.filename] = target
            return files
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        # A damaged offset makes the seek fail (EINVAL); a full disk or the like is no fault of the archive.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise _refused("the archive is damaged", "a ZIP file, stored or deflated, without password") from error


def _members(opened: zipfile.ZipFile, max_items: int) -> list[zipfile.ZipInfo]:
    """Give the members by name, all of them checked."""
    members = sorted(opened.infolist(), key=lambda member: member.filename)
    if len(members) > max_items:
        raise _refused("the archive has too many members", f"at most {max_items}", str(len(members)))
    names = [member.filename for member in members]
    if any(not name.lower().endswith(_SUFFIXES) or set(name) & set("/\\:\0") for name in names):
        raise _refused("the archive holds something else", "NIfTI files (.nii, .nii.gz) at its top, no folders")
    if len(set(names)) != len(names):
        raise _refused("two members of the archive have one name", "different names")
    return members


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, cap: int, left: int) -> int:
    """Unpack one member and give its size; counts what really comes."""
    size = 0
    with opened.open(member) as source, target.open("wb") as file:
        while piece := source.read(_CHUNK):
            size += len(piece)
            if size > cap:
                raise _large(cap, together=False)
            if size > left:
                raise _large(left, together=True)
            file.write(piece)
    return size


def _large(cap: int, *, together: bool) -> ServiceError:
    """Give the error for content over a cap."""
    return too_large(cap, ARCHIVE, together=together)


def _refused(detail: str, expected: str, found: str | None = None) -> ArchiveError:
    """Give the error for an archive; names of members, which may name patients, are not repeated."""
    return ArchiveError(detail, expected=expected, found=found, field=ARCHIVE)
