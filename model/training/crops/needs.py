"""What a run asks of its cases and of the crop, refused before any work is done."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from model.errors import InputError
from model.networks.segnet import PublishedSegNet
from model.training.config import TrainingConfig
from model.training.crops.atlas import CropAtlas
from model.training.crops.case import CropCase
from model.training.crops.dataset import has_masks


def needs_masks(config: TrainingConfig) -> bool:
    """Whether the cases are looked at as masks."""
    return config.network.class_name == "segnet" or config.loss.dice > 0


def needs_normals(config: TrainingConfig) -> bool:
    """Whether the loss looks at the normals of corresponding points."""
    return config.network.class_name != "segnet" and config.loss.point_to_plane > 0


def check_cases(cases: Sequence[CropCase], atlas: CropAtlas, config: TrainingConfig) -> None:
    """Refuse cases that lack what the network or a term of the loss needs.

    Raises:
        InputError: naming the cases.
    """
    registers = config.network.class_name != "segnet"
    if registers and (config.loss.point_to_point > 0 or config.loss.point_to_plane > 0):
        lacking = [case.name for case in cases if not case.corresponding]
        _refuse(lacking, "point losses need corresponding vertices", "as many as the atlas has, in its order,")
    if needs_masks(config):
        lacking = [case.name for case in cases if not has_masks(case, atlas)]
        what = "the network segnet" if config.network.class_name == "segnet" else "the loss term dice"
        _refuse(lacking, f"{what} needs masks of all structures", "masks, or vertices in the order of the atlas")


def check_crop(network: nn.Module, atlas: CropAtlas, config: TrainingConfig) -> None:
    """Refuse a network that cannot take crops of the atlas's size, or has other structures than the atlas.

    Raises:
        InputError: saying why.
    """
    if isinstance(network, PublishedSegNet) and network.structures != len(atlas.meshes_ijk):
        found = ", ".join(atlas.meshes_ijk)
        raise InputError("the network segnet needs an atlas of all structures", expected="all four", found=found)
    crop = torch.zeros((1, 1, *atlas.frame.grid), device="meta")
    inputs = (crop,) if config.network.class_name == "segnet" else (crop, crop)
    try:
        copy.deepcopy(network).to("meta").eval()(*inputs)
    except (ValueError, RuntimeError) as error:
        size = " x ".join(map(str, atlas.frame.grid))
        raise InputError(
            f"the network {config.network.class_name} does not take crops of {size} voxels",
            found=" ".join(str(error).split())[:160],
        ) from error


def _refuse(lacking: Sequence[str], detail: str, expected: str) -> None:
    """Refuse when a case lacks something."""
    if lacking:
        raise InputError(detail, expected=f"{expected} in every case", found=f"none in {', '.join(lacking)}")
