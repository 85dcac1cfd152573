"""Starting a network from the weights of an earlier one that may see less or stop at a coarser scale."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from model.errors import InputError
from model.networks.coarse_to_fine import CoarseToFineNet

_FIRST = "field_net.encoders.0.first.0.weight"
_SCALE = re.compile(r"field_net\.(decoders|heads)\.(\d+)\.")


def start_from(network: nn.Module, earlier: nn.Module) -> None:
    """Give a network the weights of an earlier one of the same kind.

    A coarse-to-fine network may see more samples in each cell than the earlier one, which saw one: each sample gets an
    equal part of the earlier weight, so that cells of equal samples look as they did. Scales finer than the earlier
    network's keep their fresh weights.

    Raises:
        InputError: the networks do not fit each other otherwise; names the weights.
    """
    own, given = network.state_dict(), dict(earlier.state_dict())
    if isinstance(network, CoarseToFineNet) and isinstance(earlier, CoarseToFineNet):
        if network.stack != earlier.stack and earlier.stack == 1:
            given[_FIRST] = _spread(given[_FIRST], network.stack**3)
        given = {**{name: value for name, value in own.items() if _finer(name, given)}, **given}
    wrong = [name for name in own if name not in given or given[name].shape != own[name].shape]
    wrong += [name for name in given if name not in own]
    if wrong:
        raise InputError(
            "initial: the weights do not fit the network of the configuration",
            expected="a network of the same class and size",
            found=f"{len(wrong)} weights that differ, such as {wrong[0]}",
        )
    network.load_state_dict(given)


def _spread(weight: Tensor, samples: int) -> Tensor:
    """Share out the (O, 2, 3, 3, 3) weights of two images over the samples of a cell, patient's before atlas's."""
    return weight.repeat_interleave(samples, dim=1) / samples


def _finer(name: str, given: Mapping[str, Tensor]) -> bool:
    """Whether a weight belongs to a decoder or head beyond the last one that is given: they go from coarse to fine."""
    found = _SCALE.match(name)
    if found is None:
        return False
    kind, scale = found.groups()
    known = [int(other.group(2)) for other in map(_SCALE.match, given) if other and other.group(1) == kind]
    return int(scale) > max(known, default=-1)
