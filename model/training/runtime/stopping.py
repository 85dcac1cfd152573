"""Stopping when validations bring no more gain."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import EarlyStopping

from model.training.runtime.monitor import VALIDATION_LOSS


class StopEarly(EarlyStopping):
    """Lightning's early stopping after validations; a run that was interrupted after the stop does not go on."""

    def __init__(self, patience: int) -> None:
        """Stop after so many validations in a row without gain."""
        super().__init__(VALIDATION_LOSS, patience=patience, mode="min", check_on_train_epoch_end=False)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Stop at once when the checkpoint says that the run had stopped."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True
