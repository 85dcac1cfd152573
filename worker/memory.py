"""How much memory a worker's pool child holds, on its host and its device."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def device_facts() -> dict[str, str | int]:
    """Give device, used and total memory in bytes, as seen by the process that computes.

    With CUDA in use, `device` is such as `cuda:0` and the figures are the driver's for the whole device, with what this
    process reserved beside them; otherwise `device` is `cpu`, used is the resident set of this process and total the
    memory of the machine. Torch is asked only when it has been imported already.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        number = torch.cuda.current_device()
        free, total = torch.cuda.mem_get_info(number)
        return {
            "device": f"cuda:{number}",
            "memory_used_bytes": total - free,
            "memory_total_bytes": total,
            "memory_reserved_bytes": torch.cuda.memory_reserved(number),
        }
    facts: dict[str, str | int] = {"device": "cpu"}
    resident = resident_bytes(os.getpid())
    if resident is not None:
        facts["memory_used_bytes"] = resident
    facts["memory_total_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return facts


def resident_bytes(process_id: int) -> int | None:
    """Give the resident set of a process in bytes; None when it ended, or on systems other than Linux."""
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
