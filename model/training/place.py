"""Where a run may put its bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.bundle import read_manifest
from model.bundle.layout import MANIFEST_FILE
from model.bundle.schema import TrainingSection
from model.errors import DamagedBundleError, InputError


def check_place(path: Path, ours: Callable[[TrainingSection], bool], *, force: bool) -> None:
    """Refuse a folder for the bundle of a run that has another bundle or other things in it.

    Args:
        path: folder that the bundle will be written to.
        ours: tells by what a bundle states of its training whether it is of the same run, which may replace it.
        force: whether the bundle of another run may be replaced too.

    Raises:
        InputError: saying what to do.
    """
    if not path.exists():
        return
    if not (path / MANIFEST_FILE).is_file():
        raise InputError(
            "the folder of the bundle holds other things", found=path.name, hint="choose another name or --out"
        )
    if not force and not _is_ours(path, ours):
        raise InputError(
            "there is a bundle of that name already, of another run",
            found=path.name,
            hint="choose another name or --out, or say --force to lose the earlier bundle",
        )


def _is_ours(path: Path, ours: Callable[[TrainingSection], bool]) -> bool:
    """Whether the bundle there is of the run; one that cannot be read is not."""
    try:
        return ours(read_manifest(path).training)
    except DamagedBundleError:
        return False
