"""The network against its arithmetic written out, line by line, with nnU-Net's names of the tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nnunet_fixtures import PATCH, first_layer, make_image, make_plans, make_state, write_model
from torch import Tensor
from torch.nn.functional import conv3d

from model.release.names import rename
from model.release.nnunet.network import NnUnet, layer_names
from model.release.nnunet.plans import Plans, read_plans


@pytest.fixture
def plans(tmp_path: Path) -> Plans:
    return read_plans(write_model(tmp_path) / "model_best.model.pkl")


def loaded(plans: Plans, state: dict[str, Tensor]) -> NnUnet:
    """Give the network with weights."""
    network = NnUnet(plans)
    network.load_state_dict(rename(state, layer_names(plans)))
    return network.eval()


def written_out(state: dict[str, Tensor], activation: Tensor) -> Tensor:
    """Compute the logits of the fixtures' plans from the first convolution's output (1, 4, I, J, K)."""

    def rest(place: str, values: Tensor) -> Tensor:
        mean = values.mean((2, 3, 4), keepdim=True)
        deviation = (((values - mean) ** 2).mean((2, 3, 4), keepdim=True) + 1e-5) ** 0.5
        scale, shift = state[f"{place}.instnorm.weight"], state[f"{place}.instnorm.bias"]
        normed = (values - mean) / deviation * scale[:, None, None, None] + shift[:, None, None, None]
        return torch.where(normed > 0, normed, 0.01 * normed)

    def block(place: str, values: Tensor, padding: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
        weight, bias = state[f"{place}.conv.weight"], state[f"{place}.conv.bias"]
        return rest(place, conv3d(values, weight, bias, stride=stride, padding=padding))

    def upsampled(place: str, values: Tensor, stride: tuple[int, int, int]) -> Tensor:
        spread = torch.einsum("ncijk,cdpqr->ndipjqkr", values, state[f"{place}.weight"])
        size = [own * factor for own, factor in zip(values.shape[2:], stride, strict=True)]
        return spread.reshape(1, spread.shape[1], *size)

    one = (1, 1, 1)
    fine = rest("conv_blocks_context.0.blocks.0", activation)
    fine = block("conv_blocks_context.0.blocks.1", fine, (0, 1, 1), one)
    middle = block("conv_blocks_context.1.blocks.0", fine, (1, 1, 1), (1, 2, 2))
    middle = block("conv_blocks_context.1.blocks.1", middle, (1, 1, 1), one)
    coarse = block("conv_blocks_context.2.0.blocks.0", middle, (1, 0, 1), (2, 2, 4))
    coarse = block("conv_blocks_context.2.1.blocks.0", coarse, (1, 0, 1), one)
    up = torch.cat((upsampled("tu.0", coarse, (2, 2, 4)), middle), 1)
    up = block("conv_blocks_localization.0.0.blocks.0", up, (1, 0, 1), one)
    up = block("conv_blocks_localization.0.1.blocks.0", up, (1, 0, 1), one)
    up = torch.cat((upsampled("tu.1", up, (1, 2, 2)), fine), 1)
    up = block("conv_blocks_localization.1.0.blocks.0", up, (1, 1, 1), one)
    up = block("conv_blocks_localization.1.1.blocks.0", up, (1, 1, 1), one)
    return torch.einsum("ncijk,dc->ndijk", up, state["seg_outputs.1.weight"][:, :, 0, 0, 0])


def test_network_computes_what_is_written_out(plans: Plans) -> None:
    state, image = make_state(), make_image(PATCH)
    activation = torch.from_numpy(first_layer(state, image))[None]
    expected = written_out(state, activation)
    network = loaded(plans, state)
    with torch.no_grad():
        torch.testing.assert_close(network.from_activation(activation), expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(network(torch.from_numpy(image)[None, None]), expected, rtol=0, atol=1e-4)
    assert float(expected.std()) > 0.5
    assert len(set(expected.argmax(1).unique().tolist())) == 3


def test_channels_double_up_to_the_published_most(tmp_path: Path) -> None:
    content = make_plans(base=32)
    stage = content["plans_per_stage"][0]
    stage |= {"patch_size": [64] * 3, "pool_op_kernel_sizes": [[2, 2, 2]] * 5, "conv_kernel_sizes": [[3, 3, 3]] * 6}
    found = read_plans(write_model(tmp_path, plans=content) / "model_best.model.pkl")
    assert found.widths == (32, 64, 128, 256, 320, 320)
    with torch.device("meta"):
        network = NnUnet(found)
    # Counted on the network of the package, of the same plans.
    assert sum(tensor.numel() for tensor in network.parameters()) == 31_195_584
