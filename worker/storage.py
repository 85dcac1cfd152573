"""A full disk: how it is recognised, what is said about it, and how files are made to outlive a power loss."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from worker.jobs import JobFailure

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

STORAGE_FULL = JobFailure(
    code="storage-full",
    title="The storage is full",
    detail="there is no space left to store files",
    hint="submit it again once the operator has made space",
)


def is_storage_full(error: BaseException) -> bool:
    """Tell whether an error, or one that led to it, says that a disk or quota is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def flush_to_disk(path: Path) -> None:
    """Have a file or folder written to the disk itself before going on (POSIX `fsync`).

    Raises:
        OSError: when it cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Flush a folder and all it holds, the innermost first.

    Raises:
        OSError: when it cannot be written.
    """
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            flush_to_disk(Path(parent, name))
        flush_to_disk(Path(parent))
