"""One ZIP of a result, with a manifest of digests."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

MANIFEST_NAME = "manifest.json"
ARCHIVE_NAME = "archive.zip"

_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal results give equal archives
_ALREADY_COMPRESSED = (".gz", ".nrrd", ".png", ".npz")


def file_digest(path: Path) -> str:
    """Give the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_archive(folder: Path, names: Sequence[str]) -> None:
    """Write `manifest.json` and `archive.zip` into a result folder.

    The manifest lists name, size and SHA-256 of every file; the archive holds those files and the manifest.

    Args:
        folder: the result folder.
        names: files to include, relative to `folder`, with forward slashes.
    """
    entries = [
        {"name": name, "bytes": (folder / name).stat().st_size, "sha256": file_digest(folder / name)}
        for name in sorted(names)
    ]
    document = {"schema_version": "1.0", "files": entries}
    (folder / MANIFEST_NAME).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    with zipfile.ZipFile(folder / ARCHIVE_NAME, "w") as archive:
        for name in [*sorted(names), MANIFEST_NAME]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            stored = name.endswith(_ALREADY_COMPRESSED)
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, (folder / name).read_bytes())
