"""Reading `bundle.json` and checking the files that it names against their digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from model.bundle.layout import MANIFEST_FILE
from model.bundle.schema import BundleManifest
from model.errors import DamagedBundleError

_MAX_MANIFEST_BYTES = 4 * 2**20


def read_manifest(path: Path) -> BundleManifest:
    """Read and validate the manifest of the bundle in a folder; its files are not looked at.

    Raises:
        DamagedBundleError: the manifest is missing or does not hold what it should.
    """
    try:
        return BundleManifest.model_validate_json(_manifest_bytes(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise damaged(MANIFEST_FILE, f"{place}: {first['msg']}" if place else first["msg"]) from error


def bundle_digest(path: Path) -> str:
    """Give the SHA-256 of the bundle's manifest, which holds those of all its files: it stands for the whole bundle.

    Raises:
        DamagedBundleError: the manifest is missing.
    """
    return hashlib.sha256(_manifest_bytes(path)).hexdigest()


def check_files(path: Path, manifest: BundleManifest) -> None:
    """Check that the folder holds the files that the manifest names, unchanged, and no others but hidden ones.

    Raises:
        DamagedBundleError: a file is missing, too many or differs from its digest.
    """
    needed = manifest.own_files
    for name in needed:
        if name not in manifest.files:
            raise damaged(MANIFEST_FILE, f"no digest of {name}", expected=f"digests of {', '.join(needed)}")
    for name, digest in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise damaged(name, "the file is missing")
        found = file_digest(file)
        if found != digest:
            raise damaged(name, f"SHA-256 {found[:16]}...", expected=f"SHA-256 {digest[:16]}...")
    known = {MANIFEST_FILE, *manifest.files}
    for entry in sorted(path.iterdir()):
        if entry.name not in known and not entry.name.startswith("."):
            raise damaged(entry.name, "an entry that the manifest does not name")


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def damaged(name: str, found: str, *, expected: str | None = None) -> DamagedBundleError:
    """Make the error about one file of a bundle."""
    return DamagedBundleError(
        f"{name} of the model bundle cannot be used",
        expected=expected,
        found=found,
        hint="restore the bundle from where it came",
        field="bundle",
    )


def _manifest_bytes(path: Path) -> bytes:
    """Read the manifest file as it is."""
    file = path / MANIFEST_FILE
    if not file.is_file():
        raise damaged(MANIFEST_FILE, "the file is missing")
    if file.stat().st_size > _MAX_MANIFEST_BYTES:
        raise damaged(MANIFEST_FILE, f"{file.stat().st_size} bytes", expected=f"at most {_MAX_MANIFEST_BYTES}")
    return file.read_bytes()
