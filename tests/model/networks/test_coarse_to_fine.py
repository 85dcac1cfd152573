"""The coarse-to-fine network: what holds for every weight."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy.ndimage import map_coordinates

from model.networks.coarse_to_fine import CoarseToFineNet, samples_to_channels

GRID = 24


def make(seed: int | None = None, **changes: Any) -> CoarseToFineNet:  # noqa: ANN401 - parameters of several types
    """Give a small network, fresh or with heads that move things by some voxels."""
    torch.manual_seed(0)
    parameters: dict[str, Any] = {"grid": GRID, "region": (2, 20), "samples": 16, "widths": (8, 8), "passes": 2}
    network = CoarseToFineNet(**(parameters | changes))
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for head in network.field_net.heads:
            assert isinstance(head, torch.nn.Conv3d)
            head.weight.data = 0.1 * torch.randn(head.weight.shape, generator=generator)
            assert head.bias is not None
            head.bias.data = torch.randn(3, generator=generator)
    return network.eval().requires_grad_(False)


def images(seed: int = 0, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(2, batch, 1, GRID, GRID, GRID, generator=generator) * 2 - 1
    return noise[0], noise[1]


def grid_points(batch: int = 1) -> torch.Tensor:
    axis = torch.arange(float(GRID))
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(1, -1, 3)
    return points.expand(batch, -1, -1)


def test_a_fresh_network_moves_nothing() -> None:
    ddf = make()(*images())
    assert ddf.shape == (1, 3, GRID, GRID, GRID)
    assert ddf.abs().max() < 1e-5


@pytest.mark.parametrize("passes", [1, 3])
def test_the_dense_field_is_where_points_are_moved(passes: int) -> None:
    network = make(1, passes=passes)
    patient, atlas = images(batch=2)
    ddf = network(patient, atlas)
    fields = network.fields(network.look(patient), network.look(atlas))
    assert len(fields) == passes
    points = grid_points(batch=2)
    moved = network.move(points, fields)
    torch.testing.assert_close(ddf.flatten(2).transpose(1, 2), moved - points, atol=1e-4, rtol=0)
    assert ddf.abs().max() > 0.3


def test_members_of_a_batch_do_not_touch() -> None:
    network = make(1)
    patient, atlas = images(batch=2)
    torch.testing.assert_close(network(patient[1:], atlas[1:]), network(patient, atlas)[1:], atol=1e-4, rtol=1e-4)


def test_passes_compose_last_field_first() -> None:
    network = make(2, passes=2)
    patient, atlas = images()
    first, second = network.fields(network.look(patient), network.look(atlas))
    points = grid_points()
    moved = network.move(points, [second])
    torch.testing.assert_close(network.move(points, [first, second]), network.move(moved, [first]))


def test_the_second_pass_sees_what_the_first_left() -> None:
    """The second pass is the network on the patient seen through the first field, sampled by an independent loop."""
    network = make(3, passes=2)
    patient, atlas = images()
    view, atlas_view = network.look(patient), network.look(atlas)
    first, second = network.fields(view, atlas_view)
    line = torch.linspace(2, 20, 16)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(1, -1, 3)
    moved = network.move(points, [first])[0].numpy()
    pulled = map_coordinates(view[0, 0].numpy(), ((moved - 2) / 18 * 15).T, order=1, mode="nearest")
    again = network.fields(torch.from_numpy(pulled).float().reshape(1, 1, 16, 16, 16), atlas_view)[0]
    torch.testing.assert_close(second, again, atol=1e-3, rtol=1e-3)


def test_the_view_spans_the_region_axis_by_axis() -> None:
    network = make()
    axis = torch.arange(float(GRID))
    i, j, k = torch.meshgrid(axis, axis, axis, indexing="ij")
    view = network.look((10000 * i + 100 * j + k)[None, None])[0, 0]
    line = torch.linspace(2, 20, 16)
    a, b, c = torch.meshgrid(line, line, line, indexing="ij")
    torch.testing.assert_close(view, 10000 * a + 100 * b + c, atol=0.5, rtol=1e-4)


def test_stacked_samples_lose_nothing() -> None:
    """Each cell's samples become channels: first the cell's own order along k, then j, then i."""
    image = torch.arange(6.0**3).reshape(1, 1, 6, 6, 6)
    cells = samples_to_channels(image, 2)
    assert cells.shape == (1, 8, 3, 3, 3)
    for channel, (a, b, c) in enumerate(itertools.product(range(2), repeat=3)):
        assert torch.equal(cells[0, channel], image[0, 0, a::2, b::2, c::2])
    assert torch.equal(samples_to_channels(image, 1), image)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_stacked_network_gives_a_consistent_field(passes: int) -> None:
    network = make(1, stack=2, passes=passes)
    patient, atlas = images()
    view = network.look(patient)
    assert view.shape == (1, 1, 32, 32, 32)
    fields = network.fields(view, network.look(atlas))
    points = grid_points()
    moved = network.move(points, fields) - points
    torch.testing.assert_close(network(patient, atlas).flatten(2).transpose(1, 2), moved, atol=1e-4, rtol=0)


def test_a_bias_moves_each_axis_by_its_channel() -> None:
    network = make(passes=1)
    head = network.field_net.heads[0]
    assert isinstance(head, torch.nn.Conv3d)
    assert head.bias is not None
    head.bias.data = torch.tensor([1.0, -2.0, 0.5])
    ddf = network(*images())
    torch.testing.assert_close(ddf.mean(dim=(0, 2, 3, 4)), torch.tensor([1.0, -2.0, 0.5]), atol=1e-4, rtol=0)
    assert ddf.flatten(2).std(dim=2).max() < 1e-3


def test_the_names_of_the_weights_are_those_of_shipped_bundles() -> None:
    names = set(CoarseToFineNet(samples=48, widths=(16, 32, 64)).state_dict())
    assert {"field_net.heads.0.bias", "field_net.encoders.2.second.1.weight"} <= names
    assert {"field_net.decoders.0.first.0.weight"} <= names
    assert len(names) == 28


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 18},
        {"samples": 8},
        {"region": (2, GRID)},
        {"region": (9, 9)},
        {"region": (-1, 9)},
        {"widths": (8, 12)},
        {"passes": 0},
        {"finest": 2},
        {"finest": -1},
        {"widths": ()},
    ],
)
def test_bad_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|divisible|index|at least"):
        make(**wrong)
