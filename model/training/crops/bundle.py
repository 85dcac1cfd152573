"""The bundle that training on a folder of crops ends in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from model.bundle.schema import (
    BundleDescription,
    FrameSection,
    Intensity,
    NetworkSection,
    TrainingSection,
)
from model.errors import InputError
from model.networks.segnet import PublishedSegNet
from model.registration.refinement_options import RefinementOptions
from model.structures import LABYRINTH
from model.training.config import TrainingConfig
from model.training.crops.atlas import CropAtlas
from model.training.segmentation_bundle import write_segnet_bundle
from model.training.trained import write_network

LICENCE = "None stated; those who hold the rights in the training data decide."
INTENDED_USE = "Research use only. Not for diagnosis or treatment."
AS_PREPARED = "Takes crops prepared like those it was trained on, intensities in [-1, 1]."
RAW_TOO = "Raw CT is scaled by the rule of the atlas; the crops it was trained on were taken as stored."


def write_trained_on_crops(
    network: nn.Module, config: TrainingConfig, atlas: CropAtlas, details: Mapping[str, Any], out: Path
) -> Path:
    """Write the bundle of a trained network; an earlier one of its name is replaced.

    Args:
        network: the network with its weights.
        config: the run; its name is the bundle's.
        atlas: what the crops were registered to; a segmentation network keeps of it what lets raw CT be aligned.
        details: facts of the training as JSON values, `training_cases` and `validation_cases` among them. No case is
            named.
        out: folder of bundles.

    Returns:
        The folder of the bundle.
    """
    cases = details["training_cases"] + details["validation_cases"]
    training = TrainingSection(
        data=f"{cases} prepared crops with vertices or masks, {details['validation_cases']} of them for validation.",
        details={**details, "config": config.model_dump(mode="json")},
    )
    limits = (AS_PREPARED if atlas.intensity.rule == "as_stored" else RAW_TOO,)
    intensity: Intensity = TypeAdapter(Intensity).validate_python(atlas.intensity.to_json())
    if isinstance(network, PublishedSegNet):
        return write_segnet_bundle(
            out,
            network,
            name=config.name,
            version=config.version,
            structures=tuple(atlas.meshes_ijk),
            frame=atlas.frame,
            intensity=intensity,
            training=training,
            licence=LICENCE,
            intended_use=INTENDED_USE,
            limits=limits,
            replace=True,
        )
    description = BundleDescription(
        name=config.name,
        version=config.version,
        licence=LICENCE,
        intended_use=INTENDED_USE,
        limits=limits,
        network=NetworkSection(
            class_name=config.network.class_name, parameters=config.network.parameters(atlas.frame.grid[0])
        ),
        refinement=refinement_settings(config, atlas),
        frame=FrameSection.model_validate(atlas.frame.to_json()),
        intensity=intensity,
        sampler=config.sampler,
        training=training,
    )
    return write_network(network, description, atlas.meshes_ijk, atlas.image, out, replace=True)


def refinement_settings(config: TrainingConfig, atlas: CropAtlas) -> dict[str, Any] | None:
    """Give all settings of the refinement at run time, or None when the configuration asks for none.

    Raises:
        InputError: a setting is not known, or the atlas has no labyrinth to refine.
    """
    if "refinement" not in config.model_fields_set:
        return None
    if LABYRINTH.id not in atlas.meshes_ijk:
        raise InputError("the configuration asks for a refinement but the atlas has no labyrinth")
    try:
        options = RefinementOptions(**config.refinement)
    except TypeError as error:
        raise InputError("refinement: a setting is not known", found=", ".join(config.refinement)) from error
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
