"""Where bundles lie and what they are called."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from model.bundle.layout import MANIFEST_FILE
from model.bundle.manifest_file import damaged, read_manifest
from model.bundle.schema import BUNDLE_NAME, BundleManifest
from model.errors import DamagedBundleError, UnknownBundleError

CHECKPOINTS_VARIABLE = "COCHLEAR_CHECKPOINTS"

DEFAULT_BUNDLE = "cochlea-ct-v2"
"""The bundle that is used when none is named."""

_log = logging.getLogger(__name__)


def default_checkpoints() -> Path:
    """Give the folder of bundles: environment variable `COCHLEAR_CHECKPOINTS`, or the one shipped with the project."""
    stated = os.environ.get(CHECKPOINTS_VARIABLE)
    return Path(stated) if stated else Path(__file__).resolve().parents[2] / "checkpoints"


def bundle_names(checkpoints: Path | None = None) -> list[str]:
    """Give the names of the bundles in a folder, sound or not, sorted; a folder that is not there has none."""
    folder = default_checkpoints() if checkpoints is None else checkpoints
    if not folder.is_dir():
        return []
    entries = (entry for entry in folder.iterdir() if re.fullmatch(BUNDLE_NAME, entry.name))
    return sorted(entry.name for entry in entries if (entry / MANIFEST_FILE).is_file())


def list_bundles(checkpoints: Path | None = None) -> list[BundleManifest]:
    """Give the manifests of the bundles in a folder by name, their files not looked at.

    A bundle whose manifest cannot be read, or has another name than its folder, is left out and logged.
    """
    folder = default_checkpoints() if checkpoints is None else checkpoints
    manifests = []
    for name in bundle_names(folder):
        try:
            manifest = read_manifest(folder / name)
        except DamagedBundleError as error:
            _log.warning("model bundle %s left out: %s", name, error)
            continue
        if manifest.name != name:
            _log.warning("model bundle in folder %s left out: its manifest calls it %s", name, manifest.name)
            continue
        manifests.append(manifest)
    return manifests


def find_bundle(name_or_path: str | Path, checkpoints: Path | None = None) -> Path:
    """Give the folder of a bundle.

    Args:
        name_or_path: name of a folder under `checkpoints`, or else the path of a bundle.
        checkpoints: folder of bundles; `default_checkpoints()` when None.

    Raises:
        UnknownBundleError: there is none; lists those that are there.
        DamagedBundleError: the folder is there, its manifest is not.
    """
    folder = default_checkpoints() if checkpoints is None else checkpoints
    given = str(name_or_path)
    candidates = [folder / given] if re.fullmatch(BUNDLE_NAME, given) else []
    if given:
        candidates.append(Path(given))
    for candidate in candidates:
        if (candidate / MANIFEST_FILE).is_file():
            return candidate
    if candidates and candidates[0].is_dir():
        raise damaged(MANIFEST_FILE, "the file is missing")
    raise UnknownBundleError(
        "the model bundle is not known",
        expected=", ".join(bundle_names(folder)) or "the path of a bundle, as no bundle is installed",
        found=ascii(given[:80]),
        field="bundle",
    )
