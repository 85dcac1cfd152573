"""The segmentation network of a run on labelled and synthetic ears."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from model.atlas.build import Atlas
from model.errors import InputError
from model.geometry.frame import CanonicalFrame
from model.networks.segnet import PublishedSegNet
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet
from model.training.config import TrainingConfig
from model.training.runtime.fit import fit, load_weights
from model.training.runtime.length import RunLength
from model.training.runtime.optimisation import optimisation
from model.training.runtime.rank import is_first_process
from model.training.segmentation_bundle import write_segnet_bundle
from model.training.segmentation_data import SegmentationViews
from model.training.segmentation_module import SegmentationTraining
from model.training.trained import CITATION, LIMITS, WINDOW, training_section


def train_segmentation(
    network: PublishedSegNet,
    sets: Sequence[CaseSet],
    held_out: CaseSet | None,
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    length: RunLength,
    experiment: Path,
    out: Path,
    progress: Callable[[str, float], None],
    scores: Mapping[str, Any],
) -> Path:
    """Train a segmentation network on the cases of a run and write its bundle; see `model.training.train.train`.

    Args:
        network: the network, which works on a grid of its own.
        sets: the training cases.
        held_out: the validation cases, if any.
        atlas: its surfaces, deformed with every case, are the truth.
        frame: the canonical frame.
        config: the run.
        length: steps of the run.
        experiment: folder for checkpoints, logs and pictures.
        out: folder to write the bundle into.
        progress: called with what is being done and the fraction done.
        scores: measured scores, when known.

    Raises:
        InputError: the network's own grid does not fit the crop.
    """
    try:
        network.own_shape(frame.grid)
    except ValueError as error:
        raise InputError(f"network: factor and margin do not fit the crop: {error}") from error

    def draws(parts: Sequence[CaseSet], shares: Sequence[float], seed: int) -> SegmentationViews:
        return SegmentationViews(
            parts,
            shares,
            atlas.meshes_ijk,
            network=network,
            grid=frame.grid[0],
            length=length.steps * config.optimiser.batch * config.trainer.devices,
            seed=seed,
            options=AugmentOptions(spacing_mm=frame.spacing_mm, window_hu=(WINDOW.low, WINDOW.high)),
        )

    module = SegmentationTraining(
        network,
        structures=tuple(atlas.meshes_ijk),
        dice_weight=config.segmentation.dice,
        cross_entropy_weight=config.segmentation.cross_entropy,
        on_own_grid=True,
        make_optimisers=lambda parameters: optimisation(parameters, config.optimiser, length.steps),
    )
    validation = None
    if held_out is not None:
        validation = Subset(draws([held_out], (1.0,), config.seed + 1), range(len(held_out.cases)))
    result = fit(
        module,
        draws(sets, config.data.shares, config.seed),
        validation,
        length=length,
        optimiser=config.optimiser,
        trainer=config.trainer,
        seed=config.seed,
        experiment=experiment,
        progress=progress,
    )
    load_weights(network, result.chosen)
    if is_first_process():
        write_segnet_bundle(
            out,
            network,
            name=config.name,
            version=config.version,
            structures=tuple(atlas.meshes_ijk),
            frame=frame,
            intensity=WINDOW,
            training=training_section(atlas, config),
            citation=CITATION,
            limits=LIMITS,
            scores=scores,
            replace=True,
        )
    return out / config.name
