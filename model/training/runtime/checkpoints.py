"""Best and last checkpoint of a run, from which an interrupted run goes on as if nothing had happened."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from model.training.runtime.monitor import VALIDATION_LOSS, StepOutput, step_loss

CHECKPOINTS, LAST, BEST = "checkpoints", "last.ckpt", "best.ckpt"


class KeepCheckpoints(Checkpoint):
    """Writes `last.ckpt` every so many steps and at the end, `best.ckpt` after the best validation.

    A checkpoint due at a step that is validated is written after the validation, so that a resumed run neither repeats
    nor leaves out a validation. A file is replaced only when the new one is whole, and never by weights whose last loss
    was not a number. The trainer runs this after all other callbacks, so their states are those of the same moment.
    """

    def __init__(self, folder: Path, every: int, validate_every: int | None) -> None:
        """Keep where and how often; `validate_every` is None in a run without validation."""
        super().__init__()
        self.folder, self.every, self.validate_every = folder, every, validate_every
        self.best_loss = math.inf
        self.finite = True

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: StepOutput,
        *_: object,
    ) -> None:
        """Write the last checkpoint when it is due and no validation follows."""
        self.finite = math.isfinite(step_loss(outputs))
        step = trainer.global_step
        validated = self.validate_every is not None and step % self.validate_every == 0
        if step % self.every == 0 and not validated:
            self._save(trainer, LAST)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write the best checkpoint when this is the best validation, and the last one when it is due."""
        loss = float(trainer.callback_metrics[VALIDATION_LOSS])
        if loss < self.best_loss:
            self.best_loss = loss
            self._save(trainer, BEST)
        if trainer.global_step % self.every == 0:
            self._save(trainer, LAST)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write the last checkpoint."""
        self._save(trainer, LAST)

    def state_dict(self) -> dict[str, Any]:
        """Give the best loss so far for a checkpoint."""
        return {"best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best loss of a checkpoint."""
        self.best_loss = float(state_dict["best_loss"])

    def _save(self, trainer: lightning.Trainer, name: str) -> None:
        """Write a checkpoint; all processes take part, one of them writes."""
        if not self.finite:
            return
        unfinished = self.folder / f"{name}.part"
        trainer.save_checkpoint(unfinished)
        if trainer.is_global_zero:
            os.replace(unfinished, self.folder / name)


def step_of(checkpoint: Path) -> int:
    """Give the steps that were done when a checkpoint was written."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
