"""Which cases every step draws: the same whether the run was interrupted or not."""

from __future__ import annotations

from collections.abc import Iterator

import torch.distributed
from torch.utils.data import Sampler


class StepDraws(Sampler[list[int]]):
    """Gives every step the numbers of its draws: 0, 1, 2 ... over the whole run, each once.

    With several processes each gets its share of every step's draws. The length is that of the whole run, as the
    trainer counts the steps that were done before.
    """

    def __init__(self, steps: int, batch: int, start: int) -> None:
        """Give the draws from step `start` on of a run of `steps`, `batch` of them to each process."""
        self.steps, self.batch, self.start = steps, batch, start

    def __len__(self) -> int:
        """Steps of the whole run."""
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """Give the draws of this process, step by step."""
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, ranks = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if together else (0, 1)
        for step in range(self.start, self.steps):
            first = (step * ranks + rank) * self.batch
            yield list(range(first, first + self.batch))
