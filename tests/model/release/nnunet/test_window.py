"""Tiles: where they lie, how they are weighted, and how tiles of a map differ from maps of tiles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nnunet_fixtures import first_layer, make_image, make_state
from scipy.ndimage import gaussian_filter
from torch import Tensor

from model.release.nnunet.window import importance, predict_tiles, tile_starts

PATCH = (4, 6, 8)


@pytest.mark.parametrize(
    ("size", "patch", "starts"),
    [
        (110, 64, [0, 23, 46]),
        (128, 128, [0]),
        (129, 128, [0, 1]),
        (192, 128, [0, 64]),
        (193, 128, [0, 32, 65]),
        (15, 8, [0, 4, 7]),
        (13, 8, [0, 2, 5]),
        (3, 3, [0]),
        (4, 3, [0, 1]),
        (9, 3, [0, 2, 3, 4, 6]),
    ],
)
def test_tiles_start_where_worked_out_by_hand(size: int, patch: int, starts: list[int]) -> None:
    assert tile_starts(size, patch) == starts


@given(st.integers(1, 200), st.integers(0, 400))
def test_tiles_cover_all_and_step_at_most_half_a_patch(patch: int, more: int) -> None:
    size = patch + more
    starts = tile_starts(size, patch)
    assert (starts[0], starts[-1]) == (0, size - patch)
    # A step of half a voxel more can come from rounding.
    assert all(0 <= step <= (patch + 1) / 2 for step in np.diff(starts))
    assert len(starts) == 1 + -(-2 * more // patch)


@pytest.mark.parametrize("patch", [(4, 6, 8), (5, 7, 9), (1, 2, 3), (16, 12, 10)])
def test_weights_are_those_of_a_filtered_peak(patch: tuple[int, int, int]) -> None:
    peak = np.zeros(patch)
    peak[tuple(size // 2 for size in patch)] = 1
    blurred = gaussian_filter(peak, [size / 8 for size in patch], mode="constant", cval=0)
    found = importance(patch)
    np.testing.assert_allclose(found, blurred / blurred.max(), rtol=1e-6)
    assert found.min() > 0


@given(st.tuples(*[st.integers(1, 40)] * 3))
def test_no_weight_is_zero(patch: tuple[int, int, int]) -> None:
    assert importance(patch).min() > 0


@pytest.mark.parametrize("shape", [(4, 6, 8), (9, 6, 11), (3, 7, 5), (1, 1, 1), (12, 2, 9)])
def test_predictions_that_agree_are_kept(shape: tuple[int, int, int]) -> None:
    image = torch.from_numpy(make_image(shape))
    volume = torch.stack([image, -2 * image])
    seen: list[float] = []
    found = predict_tiles(lambda tile: tile, volume, PATCH, seen.append)
    torch.testing.assert_close(found, volume, rtol=0, atol=1e-6)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)


def test_margins_are_zeros_and_the_odd_one_is_at_the_end() -> None:
    tiles: list[Tensor] = []
    volume = torch.ones(1, 1, 5, 8)

    def predict(tile: Tensor) -> Tensor:
        tiles.append(tile)
        return tile

    predict_tiles(predict, volume, PATCH)
    (tile,) = tiles
    assert tile.shape == (1, 1, *PATCH)
    expected = torch.zeros(1, 1, *PATCH)
    expected[0, 0, 1, 0:5] = 1
    torch.testing.assert_close(tile, expected)


def test_tiles_that_disagree_are_weighted() -> None:
    shape = (7, 8, 11)
    volume = torch.from_numpy(make_image(shape))[None]

    def predict(tile: Tensor) -> Tensor:
        return torch.cat((tile * tile.mean(), tile.flip(4) + tile[..., :1, :1, :1]), dim=1)

    found = predict_tiles(predict, volume, PATCH).numpy()
    weights = importance(PATCH)
    total, weight = np.zeros((2, *shape)), np.zeros(shape)
    for a, b, c in itertools.product([0, 2, 3], [0, 2], [0, 3]):
        tile = volume.numpy()[0, a : a + 4, b : b + 6, c : c + 8].astype(np.float64)
        values = np.stack([tile * tile.mean(), tile[:, :, ::-1] + tile[0, 0, 0]])
        for i, j, k in np.ndindex(PATCH):
            total[:, a + i, b + j, c + k] += values[:, i, j, k] * weights[i, j, k]
            weight[a + i, b + j, c + k] += weights[i, j, k]
    np.testing.assert_allclose(found, total / weight, rtol=0, atol=1e-5)


def test_tile_of_a_map_differs_from_the_map_of_a_tile_beside_its_inner_faces_only() -> None:
    state = make_state()
    image = make_image((12, 20, 24))
    place = (slice(0, 8), slice(4, 16), slice(8, 24))
    of_map, of_tile = first_layer(state, image)[:, *place], first_layer(state, image[place])
    differs = np.abs(of_map - of_tile).max(axis=0) > 1e-6
    # The kernel has 1 x 3 x 3 voxels; of the faces across its long axes, only the last one is one of the image.
    expected = np.zeros((8, 12, 16), dtype=bool)
    expected[:, [0, -1], :] = expected[:, :, 0] = True
    np.testing.assert_array_equal(differs, expected)
    # The map of the tile with half a kernel around it is the tile of the map.
    around = first_layer(state, image[0:8, 3:17, 7:24])[:, :, 1:-1, 1:]
    np.testing.assert_allclose(around, of_map, rtol=0, atol=1e-6)
    # Beyond the image a map is continued by zeros, where the map of an image continued by zeros has the bias.
    beyond = first_layer(state, np.pad(image, 4))[:, 0, 0, 0]
    np.testing.assert_allclose(beyond, state["conv_blocks_context.0.blocks.0.conv.bias"], rtol=0, atol=1e-6)
    assert np.abs(beyond).max() > 0.01
