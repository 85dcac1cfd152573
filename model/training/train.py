"""A whole training run on labelled and synthetic ears: cases, network, training, and the bundle at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
from torch.utils.data import Subset

from model.atlas.build import Atlas
from model.atlas.labelled_ears import LabelledEar
from model.errors import InputError
from model.geometry.frame import CanonicalFrame
from model.networks.coarse_to_fine import CoarseToFineNet
from model.networks.segnet import PublishedSegNet
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet
from model.training.config import TrainingConfig
from model.training.data import ChangedCases
from model.training.networks import make_network
from model.training.prepare import prepare_cases
from model.training.registration_module import RegistrationTraining
from model.training.runtime.experiment import claim_experiment
from model.training.runtime.fit import fit, load_weights
from model.training.runtime.length import RunLength, run_length
from model.training.runtime.machine import check_trainer
from model.training.runtime.rank import is_first_process
from model.training.stream_segmentation import train_segmentation
from model.training.trained import WINDOW, windowed, write_trained

VALIDATION_SEED = 1
"""Added to the seed of a run for the draws of its validation cases."""


def train(
    ears: list[LabelledEar],
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    experiment: Path,
    out: Path,
    progress: Callable[[str, float], None],
    scores: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> Path:
    """Train a model; started again with the same arguments it goes on where it stopped.

    Args:
        ears: the training ears.
        atlas: the atlas built from them.
        frame: the canonical frame.
        config: the run.
        experiment: folder for cases, checkpoints, logs and pictures.
        out: folder to write the bundle into.
        progress: called with what is being done and the fraction done.
        scores: measured scores of the trained model to state in its bundle, when known.
        force: whether an experiment folder of another run is emptied and taken over.

    Returns:
        The folder of the bundle.

    Raises:
        InputError: the configuration asks for what cannot be done, or the folder is of another run.
        RunError: the training diverged, or the machine lacks what it needs.
    """
    check_trainer(config.optimiser, config.trainer, validation=config.data.validation > 0)
    if config.loss.dice and config.loss.dice_by != "field":
        # A step of these runs moves some vertices only, which are no closed surface.
        raise InputError(
            f"loss.dice_by: {config.loss.dice_by} needs whole surfaces",
            expected="field for labelled and synthetic ears, or a folder of crops",
        )
    lightning.seed_everything(config.seed, verbose=False)
    network = make_network(config, frame.grid)
    if not isinstance(network, CoarseToFineNet | PublishedSegNet):
        raise InputError(
            f"network.class: {config.network.class_name} is trained on a folder of crops",
            expected="coarse_to_fine or segnet for labelled and synthetic ears",
        )
    claim_experiment(experiment, _record(config, atlas), force=force)
    sets = prepare_cases(ears, atlas, config.data, experiment / "cases", progress)
    sets, held_out = hold_out(sets, config.data.validation)
    length = run_length(config.optimiser, config.trainer, sum(len(part.cases) for part in sets))
    if isinstance(network, PublishedSegNet):
        return train_segmentation(
            network, sets, held_out, atlas, frame, config, length, experiment, out, progress, scores or {}
        )
    image = windowed(atlas.image_hu)
    result = fit(
        RegistrationTraining(network, image, atlas.meshes_ijk, config, spacing_mm=frame.spacing_mm, steps=length.steps),
        _draws(sets, config.data.shares, network, atlas, frame, config, config.seed, length),
        _validation(held_out, network, atlas, frame, config, length),
        length=length,
        optimiser=config.optimiser,
        trainer=config.trainer,
        seed=config.seed,
        experiment=experiment,
        progress=progress,
    )
    load_weights(network, result.chosen)
    if is_first_process():
        write_trained(network, image, atlas, frame, config, out, scores or {})
    return out / config.name


def hold_out(sets: Sequence[CaseSet], count: int) -> tuple[list[CaseSet], CaseSet | None]:
    """Take the last `count` cases of the last set, the synthetic ears, out for validation."""
    if not count:
        return list(sets), None
    *others, synthetic = sets
    kept = replace(synthetic, cases=synthetic.cases[:-count])
    return [*others, kept], replace(synthetic, cases=synthetic.cases[-count:])


def _record(config: TrainingConfig, atlas: Atlas) -> dict[str, Any]:
    """Give what makes a run the same run."""
    return {
        "config": config.model_dump(mode="json"),
        "atlas": hashlib.sha256(atlas.vertices_ijk().tobytes()).hexdigest(),
    }


def _draws(
    sets: Sequence[CaseSet],
    shares: Sequence[float],
    network: CoarseToFineNet,
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    seed: int,
    length: RunLength,
) -> ChangedCases:
    """Give the draws of a run."""
    return ChangedCases(
        sets,
        shares,
        {name: mesh.triangles for name, mesh in atlas.meshes_ijk.items()},
        grid=frame.grid[0],
        region=(network.first, network.last),
        samples=network.samples,
        stack=network.stack,
        points=config.data.points,
        length=length.steps * config.optimiser.batch * config.trainer.devices,
        seed=seed,
        options=AugmentOptions(spacing_mm=frame.spacing_mm, window_hu=(WINDOW.low, WINDOW.high)),
        masks=config.loss.dice > 0,
    )


def _validation(
    held_out: CaseSet | None,
    network: CoarseToFineNet,
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    length: RunLength,
) -> Subset[dict[str, Any]] | None:
    """Give as many draws as there are ears held out, always the same, changed at random as in training."""
    if held_out is None:
        return None
    seed = config.seed + VALIDATION_SEED
    drawn = _draws([held_out], (1.0,), network, atlas, frame, config, seed, length)
    return Subset(drawn, range(len(held_out.cases)))
