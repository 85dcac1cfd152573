"""A whole run on a folder of crops: split, network, training, bundle."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from torch import nn

from model.bundle.schema import BUNDLE_NAME
from model.errors import InputError
from model.networks.segnet import PublishedSegNet
from model.training.config import TrainingConfig
from model.training.crops.atlas import CropAtlas
from model.training.crops.bundle import refinement_settings, write_trained_on_crops
from model.training.crops.case import CropCase
from model.training.crops.dataset import CropDataset, collate_crops
from model.training.crops.needs import check_cases, check_crop, needs_masks, needs_normals
from model.training.crops.split import Split, keep_split, split_cases
from model.training.networks import make_network
from model.training.place import check_place
from model.training.registration_module import RegistrationTraining
from model.training.runtime.experiment import claim_experiment
from model.training.runtime.fit import fit, load_weights
from model.training.runtime.length import run_length
from model.training.runtime.machine import check_trainer
from model.training.runtime.optimisation import optimisation
from model.training.runtime.rank import is_first_process
from model.training.segmentation_module import SegmentationTraining

MACHINE = ("accelerator", "precision", "workers", "deterministic", "picture_every")
"""Settings of the trainer that another start of the same run may change."""


def train_crops(
    cases: Sequence[CropCase],
    atlas: CropAtlas,
    config: TrainingConfig,
    experiment: Path,
    out: Path,
    progress: Callable[[str, float], None],
    *,
    force: bool = False,
) -> Path:
    """Train a network on crops; started again with the same arguments it goes on where it stopped.

    Args:
        cases: all cases, checked.
        atlas: what they are registered to.
        config: the run; the bundle has the name of the experiment folder.
        experiment: folder for the split, checkpoints, logs and pictures.
        out: folder to write the bundle into.
        progress: told what is being done and the fraction done.
        force: whether another run's experiment folder and bundle of that name may be replaced.

    Returns:
        The folder of the bundle.

    Raises:
        InputError: the cases lack what the run needs, or the experiment or bundle is of another run.
        RunError: the training failed.
    """
    config = _named(config, experiment)
    check_trainer(config.optimiser, config.trainer, validation=True)
    check_cases(cases, atlas, config)
    refinement_settings(config, atlas)
    lightning.seed_everything(config.seed, verbose=False)
    network = make_network(config, atlas.frame.grid)
    check_crop(network, atlas, config)
    run = _record(cases, atlas, config)
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    check_place(out / config.name, lambda trained: trained.details.get("run") == digest, force=force)
    split = split_cases([case.name for case in cases], config.crops.validation_share, config.seed)
    claim_experiment(experiment, run, force=force)
    split = keep_split(experiment, split)
    training, validation = _datasets(cases, atlas, config, split)
    length = run_length(config.optimiser, config.trainer, cases=len(training))
    result = fit(
        _module(network, atlas, config, length.steps),
        training,
        validation,
        length=length,
        optimiser=config.optimiser,
        trainer=config.trainer,
        seed=config.seed,
        experiment=experiment,
        progress=progress,
        collate=collate_crops,
    )
    load_weights(network, result.chosen)
    details = {
        "run": digest,
        "training_cases": len(training),
        "validation_cases": len(validation),
        "steps": result.steps,
        "validation_loss": result.validation_loss,
    }
    if is_first_process():
        write_trained_on_crops(network, config, atlas, details, out)
    return out / config.name


def _named(config: TrainingConfig, experiment: Path) -> TrainingConfig:
    """Give the configuration the name of the experiment, which becomes the bundle's."""
    name = experiment.absolute().name
    if re.fullmatch(BUNDLE_NAME, name) is None:
        raise InputError(
            "the name of the experiment cannot be that of a bundle",
            expected="letters, digits, dots, dashes and underscores",
            found=ascii(name[:80]),
        )
    return config.model_copy(update={"name": name})


def _record(cases: Sequence[CropCase], atlas: CropAtlas, config: TrainingConfig) -> dict[str, Any]:
    """Give all that makes the run what it is."""
    stated = config.model_dump(mode="json")
    stated["trainer"] = {name: value for name, value in stated["trainer"].items() if name not in MACHINE}
    parts = [atlas.image, *atlas.points.values(), *(mesh.triangles for mesh in atlas.meshes_ijk.values())]
    looks = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    return {
        "config": stated,
        "atlas": {"arrays": looks, "frame": atlas.frame.to_json(), "intensity": atlas.intensity.to_json()},
        "cases": {case.name: case.digest for case in cases},
    }


def _datasets(
    cases: Sequence[CropCase], atlas: CropAtlas, config: TrainingConfig, split: Split
) -> tuple[CropDataset, CropDataset]:
    """Give the training and the validation cases."""
    by_name = {case.name: case for case in cases}
    training, validation = (
        CropDataset(
            [by_name[name] for name in names],
            atlas,
            train=train,
            seed=config.seed,
            options=config.crops,
            with_masks=needs_masks(config),
            with_normals=needs_normals(config),
        )
        for names, train in ((split.train, True), (split.validation, False))
    )
    return training, validation


def _module(network: nn.Module, atlas: CropAtlas, config: TrainingConfig, steps: int) -> lightning.LightningModule:
    """Give what trains the network."""
    if isinstance(network, PublishedSegNet):
        return SegmentationTraining(
            network,
            structures=tuple(atlas.meshes_ijk),
            dice_weight=config.segmentation.dice,
            cross_entropy_weight=config.segmentation.cross_entropy,
            make_optimisers=lambda parameters: optimisation(parameters, config.optimiser, steps),
        )
    return RegistrationTraining(
        network, atlas.image, atlas.meshes_ijk, config, spacing_mm=atlas.frame.spacing_mm, steps=steps
    )
