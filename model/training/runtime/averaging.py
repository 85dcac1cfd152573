"""Moving average of the weights."""

from __future__ import annotations

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Keeps the exponential moving average of the weights; it is validated, saved and left in the module at the end.

    Early on the average forgets faster, with decay (1 + n) / (10 + n) at update n, so that the random start does not
    linger in it (the usual warm-up of such averages, as in Tan & Le, ICML 2019, and TensorFlow's).
    """

    def __init__(self, decay: float) -> None:
        """Keep the decay per step, between 0 and 1."""

        def average(kept: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            share = min(decay, (1 + int(updates)) / (10 + int(updates)))
            # Written so that what does not change, such as an atlas, stays exactly what it is.
            mixed: Tensor = kept + (current - kept) * (1 - share) if kept.is_floating_point() else current.clone()
            return mixed

        super().__init__(use_buffers=True, avg_fn=average)
