"""Whether the disk of the data folder has room."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

_GIBIBYTE = 2**30
_SHARE = 0.05


@dataclass(frozen=True)
class DiskSpace:
    """Room on a disk, in bytes.

    Attributes:
        free: what may still be written.
        total: its size.
        floor: what must stay free.
    """

    free: int
    total: int
    floor: int

    @property
    def nearly_full(self) -> bool:
        """Whether less is free than must stay free."""
        return self.free < self.floor


def disk_space(folder: Path, floor: int | None) -> DiskSpace:
    """Look at the disk that holds a folder, or will hold it once it is made.

    Args:
        folder: the folder.
        floor: bytes that must stay free; None for 1 GiB, on small disks 5 percent.

    Raises:
        OSError: when the disk cannot be looked at.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return DiskSpace(usage.free, usage.total, min(_GIBIBYTE, int(_SHARE * usage.total)) if floor is None else floor)
