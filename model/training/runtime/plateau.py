"""The learning rate halved when validations bring no gain."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch.optim.lr_scheduler import ReduceLROnPlateau

from model.training.runtime.monitor import VALIDATION_LOSS


class HalveOnPlateau(Callback):
    """Runs torch's plateau schedule after every validation; Lightning's own forgets the last one when resumed."""

    def __init__(self, patience: int) -> None:
        """Halve after more than `patience` validations without gain."""
        super().__init__()
        self.patience = patience
        self.schedule: ReduceLROnPlateau | None = None
        self.stored: dict[str, Any] | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take hold of the optimiser, whose rate a resumed run has restored already."""
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        self.schedule = ReduceLROnPlateau(trainer.optimizers[0], factor=0.5, patience=self.patience)
        if self.stored is not None:
            self.schedule.load_state_dict(self.stored)
        for group, rate in zip(trainer.optimizers[0].param_groups, rates, strict=True):
            group["lr"] = rate

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Tell the schedule the new validation loss."""
        if self.schedule is not None:
            self.schedule.step(float(trainer.callback_metrics[VALIDATION_LOSS]))

    def state_dict(self) -> dict[str, Any]:
        """Give the schedule's state for a checkpoint."""
        return {} if self.schedule is None else dict(self.schedule.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state until the optimiser is there."""
        self.stored = state_dict or None
