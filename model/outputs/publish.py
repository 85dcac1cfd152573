"""Making a folder of results, or a single file, appear complete or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from model.errors import OptionError


def check_output_folder(out: Path, marker: str) -> bool:
    """Check that results can be published to a folder, and say whether an earlier result is there.

    Args:
        out: folder to publish.
        marker: name of a file that every complete result has.

    Raises:
        OptionError: when `out` is a file, or a folder of something else.
    """
    if out.is_symlink() and not out.exists():
        raise OptionError("the output folder cannot be used", expected="a folder", found="a broken link")
    if out.exists() and not out.is_dir():
        raise OptionError("the output folder cannot be used", expected="a folder or a new name", found="a file")
    earlier = out.is_dir() and any(out.iterdir())
    if earlier and not (out / marker).is_file():
        raise OptionError(
            "the output folder holds other files",
            expected="a new folder, an empty one, or one with an earlier result",
            hint="choose another folder",
        )
    return earlier


@contextmanager
def published_folder(out: Path, marker: str, may_be_absent: Sequence[str] = ()) -> Iterator[Path]:
    """Give a temporary folder next to `out` that takes its place when the block ends without an error.

    A new or empty `out` appears in one step. When `out` holds an earlier result, its files of the same names are
    replaced and others left alone; the marker is taken away first and comes back last, so that a folder with the
    marker always holds one complete result.

    Args:
        out: folder to publish; its parent is made when it is missing.
        marker: name of a file that every complete result has.
        may_be_absent: names of files that some results have: those of an earlier result do not outlive it.

    Raises:
        OptionError: when `out` is a file, or a folder of something else.
    """
    earlier = check_output_folder(out, marker)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        staging = Path(folder) / "result"
        staging.mkdir()
        yield staging
        if earlier:
            _replace_entries(staging, out, marker, may_be_absent)
        else:
            staging.replace(out)


@contextmanager
def published_path(target: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `target` when the block ends without an error.

    The block makes a file or a folder there, under the name of `target`; an earlier one of the same kind is replaced.

    Args:
        target: file or folder to publish; its parent is made when it is missing.

    Raises:
        OptionError: when a folder stands where the file should, or a file where the folder should.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        staging = Path(folder) / target.name
        yield staging
        if target.exists() and target.is_dir() != staging.is_dir():
            kinds = ("a file", "a folder") if target.is_dir() else ("a folder", "a file")
            raise OptionError("the output cannot be written", expected=f"{kinds[0]} or a new name", found=kinds[1])
        if target.is_dir():
            target.rename(Path(folder) / "earlier")
        staging.replace(target)


def _replace_entries(staging: Path, out: Path, marker: str, may_be_absent: Sequence[str]) -> None:
    """Move the entries of one folder over those of another, the marker last."""
    (out / marker).unlink()
    for name in may_be_absent:
        (out / name).unlink(missing_ok=True)
    for entry in sorted(staging.iterdir(), key=lambda entry: entry.name == marker):
        target = out / entry.name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        entry.replace(target)
