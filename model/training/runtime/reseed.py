"""Randomness inside a step that does not depend on how often the run was interrupted."""

from __future__ import annotations

import random

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback


class ReseedEveryStep(Callback):
    """Seeds all global generators from the run's seed, the step and the rank before every step."""

    def __init__(self, seed: int) -> None:
        """Keep the run's seed."""
        super().__init__()
        self.seed = seed

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        *_: object,
    ) -> None:
        """Seed the generators of torch (all devices), numpy and Python."""
        state = np.random.SeedSequence([self.seed, trainer.global_step, trainer.global_rank]).generate_state(3)
        torch.manual_seed(int(state[0]))
        np.random.seed(int(state[1]))
        random.seed(int(state[2]))
