"""Lightning's loop with all that goes along with the steps of a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from model.training.runtime.averaging import MovingAverage
from model.training.runtime.checkpoints import CHECKPOINTS, KeepCheckpoints
from model.training.runtime.length import RunLength
from model.training.runtime.pictures import DrawPictures
from model.training.runtime.plateau import HalveOnPlateau
from model.training.runtime.report import ReportProgress, StopWhenLost, WriteTables
from model.training.runtime.reseed import ReseedEveryStep
from model.training.runtime.stopping import StopEarly
from model.training.sections import OptimiserSection, TrainerSection

LOG, PICTURES = "log", "pictures"


def make_loop(
    length: RunLength,
    optimiser: OptimiserSection,
    trainer: TrainerSection,
    experiment: Path,
    start: int,
    seed: int,
    progress: Callable[[str, float], None],
    *,
    validated: bool,
) -> tuple[lightning.Trainer, KeepCheckpoints]:
    """Give the loop of a run that goes on after step `start`, and what keeps its checkpoints; see `fit`.

    The whole run is one epoch to Lightning, so that every step counts alike.
    """
    checkpoints = KeepCheckpoints(
        experiment / CHECKPOINTS, length.checkpoint_every, length.validate_every if validated else None
    )
    loop = lightning.Trainer(
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        precision=trainer.precision,
        max_epochs=1,
        max_steps=length.steps,
        gradient_clip_val=optimiser.clip or None,
        check_val_every_n_epoch=None,
        val_check_interval=length.validate_every if validated else None,
        limit_val_batches=None if validated else 0,
        num_sanity_val_steps=0,
        logger=TensorBoardLogger(experiment, name=LOG, version="", default_hp_metric=False, purge_step=start),
        callbacks=[*_callbacks(length, optimiser, trainer, experiment, start, seed, progress), checkpoints],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic="warn" if trainer.deterministic else None,
    )
    return loop, checkpoints


def _callbacks(
    length: RunLength,
    optimiser: OptimiserSection,
    trainer: TrainerSection,
    experiment: Path,
    start: int,
    seed: int,
    progress: Callable[[str, float], None],
) -> list[Callback]:
    """Give what goes along with the steps, in the order in which it is called."""
    found: list[Callback] = [ReseedEveryStep(seed)]
    if trainer.ema_decay:
        found.append(MovingAverage(trainer.ema_decay))
    if trainer.picture_every:
        found.append(DrawPictures(experiment / PICTURES, trainer.picture_every))
    found += [WriteTables(experiment / LOG, start), StopWhenLost()]
    if optimiser.schedule == "plateau":
        found.append(HalveOnPlateau(optimiser.plateau_patience))
    if trainer.early_stopping:
        found.append(StopEarly(trainer.early_stopping))
    return [*found, ReportProgress(progress, length.steps)]


def silence_lightning() -> None:
    """Drop advice that does not apply: the draws go on where they stopped, and folders are meant to be gone on with."""
    for message in (
        "You're resuming from a checkpoint that ended before",
        "The '.*_dataloader' does not have many workers",
        "Checkpoint directory .* exists and is not empty",
        "You defined a `validation_step` but have no `val_dataloader`",
        "isinstance\\(treespec, LeafSpec\\)",
        # Every process measures all validation cases.
        "It is recommended to use `self.log\\(.*sync_dist=True",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")
    # It advertises, and lists processors that are not there.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
