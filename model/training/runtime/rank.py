"""Which of the processes of a run this one is."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only


def is_first_process() -> bool:
    """Whether this is the process that writes results: the only one, or the first of several."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0
