"""A whole training run: cases, network, checkpoints to resume from, and the bundle at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from model.atlas.build import Atlas
from model.atlas.labelled_ears import LabelledEar
from model.bundle import find_bundle, load_bundle
from model.errors import InputError
from model.geometry.frame import CanonicalFrame
from model.networks.coarse_to_fine import CoarseToFineNet
from model.networks.registry import load_network
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet
from model.training.config import TrainingConfig
from model.training.data import ChangedCases
from model.training.module import RegistrationTraining
from model.training.prepare import prepare_cases
from model.training.trained import WINDOW, windowed, write_trained


def train(
    ears: list[LabelledEar],
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    experiment: Path,
    out: Path,
    progress: Callable[[str, float], None],
    scores: Mapping[str, Any] | None = None,
) -> Path:
    """Train a model; started again with the same arguments it goes on where it stopped.

    Args:
        ears: the training ears.
        atlas: the atlas built from them.
        frame: the canonical frame.
        config: the run.
        experiment: folder for cases and checkpoints.
        out: folder to write the bundle into.
        progress: called with what is being done and the fraction done.
        scores: measured scores of the trained model to state in its bundle, when known.

    Returns:
        The folder of the bundle.
    """
    lightning.seed_everything(config.seed, verbose=False)
    network = _network(config, frame)
    claim_experiment(experiment, config, atlas)
    sets = prepare_cases(ears, atlas, config.data, experiment / "cases", progress)
    image = windowed(atlas.image_hu)
    module = RegistrationTraining(
        network,
        torch.from_numpy(image),
        torch.from_numpy(atlas.vertices_ijk()),
        structures=tuple(atlas.counts()),
        spacing_mm=frame.spacing_mm,
        steps=config.optimiser.steps,
        single_pass_steps=round(config.optimiser.single_pass_steps * config.optimiser.steps),
        learning_rate=config.optimiser.learning_rate,
        stiffness=config.optimiser.stiffness,
    )
    last = experiment / "checkpoints" / "last.ckpt"
    resumed = last if last.exists() else None
    # A resumed run draws from another stream, so that it does not see the first draws again.
    start = int(torch.load(last, map_location="cpu", weights_only=True)["global_step"]) if resumed else 0
    loader = _loader(sets, network, frame, config, start)
    _trainer(config, experiment, progress).fit(module, loader, ckpt_path=resumed)
    return write_trained(network, atlas, frame, config, out, scores or {})


def claim_experiment(folder: Path, config: TrainingConfig, atlas: Atlas) -> None:
    """Note in an experiment folder which run it is of, so that no other run takes up its cases and checkpoints.

    Raises:
        InputError: the folder is of a run with another configuration or atlas.
    """
    run = {
        "config": config.model_dump(mode="json"),
        "atlas": hashlib.sha256(atlas.vertices_ijk().tobytes()).hexdigest(),
    }
    record = folder / "run.json"
    if record.exists() and json.loads(record.read_text(encoding="utf-8")) != run:
        raise InputError(
            "the experiment folder is of another run",
            expected="the configuration and atlas it was started with",
            hint="choose a new folder, or give the same configuration",
        )
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")


def _network(config: TrainingConfig, frame: CanonicalFrame) -> CoarseToFineNet:
    """Make the network of a run, with the weights it starts from.

    Raises:
        InputError: its parameters are not accepted, or do not fit those of the bundle it starts from.
    """
    try:
        network = CoarseToFineNet(grid=frame.grid[0], **config.network.model_dump())
        if config.initial is not None:
            network.load_state_dict(load_network(load_bundle(find_bundle(config.initial))).state_dict())
    except (ValueError, RuntimeError) as error:
        raise InputError(
            "the network of the configuration cannot be made", found=" ".join(str(error).split())[:200]
        ) from error
    return network


def _loader(
    sets: list[CaseSet], network: CoarseToFineNet, frame: CanonicalFrame, config: TrainingConfig, start: int
) -> torch.utils.data.DataLoader[dict[str, torch.Tensor]]:
    """Give the stream of batches of a run that starts at a step."""
    stream = ChangedCases(
        sets,
        config.data.shares,
        grid=frame.grid[0],
        region=(network.first, network.last),
        samples=network.samples,
        points=config.optimiser.points,
        seed=config.seed + start,
        options=AugmentOptions(spacing_mm=frame.spacing_mm, window_hu=(WINDOW.low, WINDOW.high)),
    )
    workers = config.optimiser.workers
    return torch.utils.data.DataLoader(
        stream, batch_size=config.optimiser.batch, num_workers=workers, prefetch_factor=4 if workers else None
    )


def _trainer(config: TrainingConfig, experiment: Path, progress: Callable[[str, float], None]) -> lightning.Trainer:
    """Give the loop over the steps, with its checkpoints and its log."""
    checkpoints = ModelCheckpoint(
        dirpath=experiment / "checkpoints", save_last=True, every_n_train_steps=config.optimiser.checkpoint_every
    )
    return lightning.Trainer(
        max_steps=config.optimiser.steps,
        precision=config.optimiser.precision,  # type: ignore[arg-type]
        gradient_clip_val=1.0,
        logger=lightning.pytorch.loggers.CSVLogger(experiment, name="log"),
        callbacks=[checkpoints, _Report(progress, config.optimiser.steps)],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=20,
        use_distributed_sampler=False,
    )


class _Report(Callback):
    """Tells how far the training is and how large the errors are."""

    def __init__(self, progress: Callable[[str, float], None], steps: int) -> None:
        super().__init__()
        self.progress, self.steps = progress, steps
        self.before = self.after = float("nan")

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Report a running mean of the errors."""
        values = trainer.callback_metrics
        share = 0.0 if np.isnan(self.after) else 0.98
        self.before = share * np.nan_to_num(self.before) + (1 - share) * float(values["before"])
        self.after = share * np.nan_to_num(self.after) + (1 - share) * float(values["after"])
        text = f"training: {self.before:.2f} mm before, {self.after:.2f} mm after"
        self.progress(text, trainer.global_step / self.steps)
