"""Memory of a service's processes, sampled while a block runs (Linux)."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.stack import children_of, command_of

_EVERY_S = 0.05


class MemoryWatch:
    """Samples the memory of a process and of the processes below it that check uploads.

    Attributes:
        own_bytes: most memory that the process itself held.
        child_bytes: most memory that one process forked for a check held.

    Args:
        process_id: the process.
    """

    def __init__(self, process_id: int) -> None:
        """Prepare; sampling starts on entering."""
        self._process_id = process_id
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.own_bytes = 0
        self.child_bytes = 0

    def __enter__(self) -> Self:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sampling."""
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        """Look at the processes again and again."""
        while not self._ended.wait(_EVERY_S):
            self.own_bytes = max(self.own_bytes, _field(self._process_id, "VmHWM"))
            for child in children_of(self._process_id):
                if "forkserver" in command_of(child):
                    # The peak a kernel keeps for each process misses nothing between two samples.
                    peaks = [_field(check, "VmHWM") for check in children_of(child)]
                    self.child_bytes = max([self.child_bytes, *peaks])


def cpu_seconds(process_id: int) -> float:
    """Give the time that a process, its children not counted, has spent on the processor."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _field(process_id: int, name: str) -> int:
    """Give a field of the status of a process in bytes, 0 when it is gone."""
    try:
        text = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(name)), 0)
