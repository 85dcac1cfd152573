"""Pictures of a validation case as the training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning
from lightning.pytorch.callbacks import Callback

from model.training.runtime.overlay import Overlay, draw_overlay


@runtime_checkable
class DrawsOverlay(Protocol):
    """A module that can show what it makes of a case."""

    def overlay(self, batch: Any) -> Overlay:  # noqa: ANN401 (a batch is what the module's own data set gives)
        """Show the first case of a batch."""
        ...


class DrawPictures(Callback):
    """Writes `step-000123.png` of the first validation case at every so many validations."""

    def __init__(self, folder: Path, every: int) -> None:
        """Keep where and how often."""
        super().__init__()
        self.folder, self.every, self.validations = folder, every, 0

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        index: int,
        *_: object,
    ) -> None:
        """Draw the first case, with the weights that are being validated."""
        if index == 0:
            due = self.validations % self.every == 0
            self.validations += 1
            if due and trainer.is_global_zero and isinstance(module, DrawsOverlay):
                draw_overlay(module.overlay(batch), self.folder / f"step-{trainer.global_step:06d}.png")

    def state_dict(self) -> dict[str, Any]:
        """Give the number of validations so far for a checkpoint."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the number of validations of a checkpoint."""
        self.validations = int(state_dict["validations"])
