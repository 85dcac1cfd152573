"""The network of a run, with the weights it starts from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from model.bundle import find_bundle, load_bundle
from model.errors import InputError
from model.networks.registry import NETWORKS, load_network
from model.training.config import TrainingConfig
from model.training.initial import start_from


def make_network(config: TrainingConfig, grid: Sequence[int]) -> nn.Module:
    """Make the network of a run for crops of a shape in voxels.

    Raises:
        InputError: its parameters are not accepted, or do not fit the crop or the bundle it starts from.
    """
    section = config.network
    if section.class_name == "coarse_to_fine" and len(set(grid)) != 1:
        raise InputError(
            "network: a coarse_to_fine network needs a cubic crop", expected="three equal sizes", found=str(tuple(grid))
        )
    try:
        network = NETWORKS[section.class_name](**section.parameters(grid[0]))
    except (TypeError, ValueError) as error:
        raise InputError(f"network: {error}") from error
    if config.initial is not None:
        start_from(network, load_network(load_bundle(find_bundle(config.initial))))
    return network
