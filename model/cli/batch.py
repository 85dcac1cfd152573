"""One file or a folder of them: what there is to do, doing it one after the other, and saying what failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from model.cli.progress import progress_bar
from model.errors import CochlearError, InputError, OptionError, RunError

_NAMED = 5
"""Failed files that the last line names."""
_REASON_LENGTH = 120


@dataclass(frozen=True)
class Item:
    """One file of a folder and what becomes of it.

    Attributes:
        name: path within the folder, for people.
        source: file to read.
        targets: files or folders of which one is made; when one is there already the item counts as done.
    """

    name: str
    source: Path
    targets: tuple[Path, ...]


def find_items(folder: Path, out: Path, suffixes: Sequence[str], target_suffixes: Sequence[str]) -> list[Item]:
    """Find the files of a folder and of its sub-folders by suffix; targets mirror the sub-folders.

    Args:
        folder: where to look; names that start with a dot are passed over.
        out: folder of the targets.
        suffixes: endings of the files, such as `.nii.gz`, in lower case.
        target_suffixes: endings of the targets, put in the place of the file's own.

    Raises:
        InputError: no such files, two of them would become one, or the targets would lie among the sources.
    """
    if out.exists() and not out.is_dir():
        raise OptionError("the output cannot be used", expected="a folder, as the input is one", found="a file")
    if out.resolve().is_relative_to(folder.resolve()):
        raise OptionError("the output lies within the input folder", expected="a folder beside it", field="out")
    items: dict[Path, Item] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        ending = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), None)
        if ending is None or not path.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        stem = relative.with_name(relative.name[: -len(ending)])
        if stem in items:
            names = f"{items[stem].name} and {relative.as_posix()}"
            raise InputError("two files would become one", expected="one file of each name", found=names)
        targets = tuple(out / stem.with_name(stem.name + suffix) for suffix in target_suffixes)
        items[stem] = Item(relative.as_posix(), path, targets)
    folders = {parent for stem in items for parent in stem.parents}
    double = [item.name for stem, item in items.items() if "" in target_suffixes and stem in folders]
    if double:
        found = f"{double[0]} beside a folder of its name"
        raise InputError("a file and a folder would become one", expected="different names", found=found)
    if not items:
        raise InputError("the folder holds no such files", expected=f"files that end in {', '.join(suffixes)}")
    return list(items.values())


def run_items(items: Sequence[Item], work: Callable[[Item], None], *, force: bool) -> None:
    """Do the work for every item that is not done, and say what failed when the others are done.

    Args:
        items: what there is.
        work: does one item; it leaves nothing half-written behind when it fails.
        force: whether items count as not done when a target is there.

    Raises:
        RunError: some items failed; the message names them.
    """
    waiting = [item for item in items if force or not any(target.exists() for target in item.targets)]
    failed: dict[str, str] = {}
    with progress_bar() as show:
        for at, item in enumerate(waiting):
            show(item.name, at / len(waiting))
            try:
                work(item)
            except (CochlearError, OSError, ValueError) as error:
                failed[item.name] = _reason(error)
        show("done", 1.0)
    done, skipped = len(waiting) - len(failed), len(items) - len(waiting)
    typer.echo(f"{done} done, {skipped} there already, {len(failed)} failed")
    if failed:
        named = [f"{name} ({reason})" for name, reason in list(failed.items())[:_NAMED]]
        more = [f"{len(failed) - _NAMED} more"] if len(failed) > _NAMED else []
        raise RunError(f"{len(failed)} of {len(items)} files failed: {', '.join(named + more)}")


def _reason(error: Exception) -> str:
    """Give the reason of a failure in a few words; operating systems' errors without the path they carry."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split())[:_REASON_LENGTH]
