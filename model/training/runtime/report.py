"""What a run tells while it goes on: progress, tables of losses, a stop when it diverges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from model.errors import RunError
from model.training.runtime.loss_table import LossTable
from model.training.runtime.monitor import VALIDATION_LOSS, StepOutput, step_loss

TRAINING_TABLE, VALIDATION_TABLE = "training.csv", "validation.csv"
LEARNING_RATE = "learning_rate"
_SMOOTHING = 0.98
_LOST = 20


class ReportProgress(Callback):
    """Tells how far the training is and running means of the losses that the module logs with `prog_bar`."""

    def __init__(self, progress: Callable[[str, float], None], steps: int) -> None:
        """Keep whom to tell and the steps of the whole run."""
        super().__init__()
        self.progress, self.steps = progress, steps
        self.means: dict[str, float] = {}

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Report after every step."""
        for name, value in trainer.progress_bar_metrics.items():
            if math.isfinite(value):
                self.means[name] = _SMOOTHING * self.means.get(name, float(value)) + (1 - _SMOOTHING) * float(value)
        known = trainer.callback_metrics.get(VALIDATION_LOSS)
        figures = [f"{name} {mean:.3g}" for name, mean in self.means.items()]
        figures += [] if known is None else [f"validation {float(known):.3g}"]
        self.progress(f"training: {', '.join(figures)}", trainer.global_step / self.steps)


class WriteTables(Callback):
    """Writes what the module logs into `training.csv` and, names beginning with "validation", `validation.csv`."""

    def __init__(self, folder: Path, start: int) -> None:
        """Keep the folder; rows after step `start`, where the run goes on, are dropped."""
        super().__init__()
        self.folder, self.start = folder, start
        self.tables: dict[str, LossTable] = {}

    def on_fit_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Open the tables; only one process writes."""
        if trainer.is_global_zero:
            self.tables = {
                name: LossTable(self.folder / name, self.start) for name in (TRAINING_TABLE, VALIDATION_TABLE)
            }

    def on_train_batch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        """Have the learning rate logged that the step is made with; the schedule moves on before the step ends."""
        module.log(LEARNING_RATE, float(trainer.optimizers[0].param_groups[0]["lr"]))

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Write the row of a step."""
        if self.tables:
            self.tables[TRAINING_TABLE].add(trainer.global_step, _figures(trainer.callback_metrics, validation=False))

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write the row of a validation."""
        if self.tables:
            self.tables[VALIDATION_TABLE].add(trainer.global_step, _figures(trainer.callback_metrics, validation=True))


class StopWhenLost(Callback):
    """Ends a run whose loss is no number any more.

    Half precision overflows now and then and its scaler skips the step, so a few such steps in a row are borne.
    """

    def __init__(self) -> None:
        """Start with nothing lost."""
        super().__init__()
        self.lost = 0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: StepOutput,
        *_: object,
    ) -> None:
        """Count steps whose loss is not finite.

        Raises:
            RunError: too many in a row.
        """
        self.lost = 0 if math.isfinite(step_loss(outputs)) else self.lost + 1
        if self.lost >= _LOST:
            raise RunError(
                f"the training diverged: the loss was no finite number in the last {_LOST} steps",
                hint="lower the learning rate or clip the gradient; the last sound checkpoint is kept",
            )


def _figures(metrics: Mapping[str, Tensor], *, validation: bool) -> dict[str, float]:
    """Give the figures of a kind as plain numbers."""
    return {name: float(value) for name, value in metrics.items() if name.startswith("validation") == validation}
