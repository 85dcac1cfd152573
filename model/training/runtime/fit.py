"""Runs a training to its end, from wherever an interruption left it."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from model.errors import RunError
from model.training.runtime.checkpoints import BEST, CHECKPOINTS, LAST, step_of
from model.training.runtime.draws import StepDraws
from model.training.runtime.length import RunLength
from model.training.runtime.loop import make_loop, silence_lightning
from model.training.runtime.machine import check_trainer
from model.training.sections import OptimiserSection, TrainerSection

FINISHED = "finished.json"
PREFETCHED = 4


@dataclass(frozen=True)
class FitResult:
    """What a run ended in.

    Attributes:
        best: checkpoint with the smallest validation loss; None in a run without validation.
        last: checkpoint of the end.
        steps: steps that were done; fewer than asked for after an early stop.
        validation_loss: that of `best`.
    """

    best: Path | None
    last: Path
    steps: int
    validation_loss: float | None

    @property
    def chosen(self) -> Path:
        """Checkpoint to use: the best, or the last where nothing was validated."""
        return self.best or self.last


def fit(
    module: lightning.LightningModule,
    training: Dataset[Any],
    validation: Dataset[Any] | None,
    *,
    length: RunLength,
    optimiser: OptimiserSection,
    trainer: TrainerSection,
    seed: int,
    experiment: Path,
    progress: Callable[[str, float], None],
    collate: Callable[[list[Any]], Any] | None = None,
) -> FitResult:
    """Train a module; started again with the same arguments it goes on where it stopped, to the same losses.

    Args:
        module: its `training_step` gives the loss; its `validation_step` logs `validation_loss`. It may have a method
            `overlay` for pictures (see `DrawsOverlay`).
        training: draws by number, for every number from 0 on, each decided by the number alone.
        validation: validation cases, always the same; every process measures all of them. None: nothing is validated.
        length: steps of the run, and between checkpoints and validations.
        optimiser: batch, clipping and plateau; the module makes its optimiser itself.
        trainer: what it is computed on and what it keeps.
        seed: of whatever is drawn at random within a step.
        experiment: folder for `checkpoints/`, `log/` (CSV tables, TensorBoard) and `pictures/`.
        progress: told what is being done and the fraction done.
        collate: makes a batch of a list of items; torch's own when None.

    Raises:
        DeviceError, InputError: see `check_trainer`.
        RunError: the training diverged, or the process was told to stop (SIGTERM).
    """
    check_trainer(optimiser, trainer, validation=validation is not None)
    folder = experiment / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / FINISHED).exists():
        return _result(folder, json.loads((folder / FINISHED).read_text(encoding="utf-8")))
    last = folder / LAST
    start = step_of(last) if last.exists() else 0
    workers: dict[str, Any] = {"num_workers": trainer.workers, "collate_fn": collate}
    if trainer.workers:
        workers["prefetch_factor"] = PREFETCHED
    draws = DataLoader(training, batch_sampler=StepDraws(length.steps, optimiser.batch, start), **workers)
    cases = None if validation is None else DataLoader(validation, batch_size=1, num_workers=0, collate_fn=collate)
    with warnings.catch_warnings():
        silence_lightning()
        loop, checkpoints = make_loop(
            length, optimiser, trainer, experiment, start, seed, progress, validated=validation is not None
        )
        try:
            loop.fit(module, draws, cases, ckpt_path=last if start else None, weights_only=True)
        except SIGTERMException as error:
            # Lightning would end the process as if all were done.
            raise RunError("the training was told to stop", hint="start it again: it goes on where it was") from error
    best_loss = checkpoints.best_loss if math.isfinite(checkpoints.best_loss) else None
    done = {"steps": loop.global_step, "best_loss": best_loss}
    if loop.is_global_zero:
        unfinished = folder / f"{FINISHED}.part"
        unfinished.write_text(json.dumps(done) + "\n", encoding="utf-8")
        os.replace(unfinished, folder / FINISHED)
    return _result(folder, done)


def load_weights(network: nn.Module, checkpoint: Path) -> None:
    """Give a network the weights of its namesake in a checkpoint: the moving average, when one was kept."""
    state: Mapping[str, Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    network.load_state_dict({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})


def _result(folder: Path, done: Mapping[str, Any]) -> FitResult:
    """Give the result of a run that is done."""
    best = None if done["best_loss"] is None else folder / BEST
    return FitResult(best, folder / LAST, int(done["steps"]), done["best_loss"])
