"""Masks on the image's grid from probabilities on the crop: voxels are in by the mean over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from segmentations import volume_on

from model.geometry.alignment import Alignment
from model.masks.on_image import mask_on_image

SPACING_MM = 0.2
CROP = np.diag([-0.2, -0.2, 0.2, 1.0])
ALIGNMENT = Alignment(np.linalg.inv(CROP), "left", "prepared")


def on_voxels_of(sizes: Sequence[int], probability: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Give the mask on a grid of which each voxel is made of whole voxels of the crop."""
    step = np.diag([*sizes, 1.0])
    step[:3, 3] = (np.array(sizes) - 1) / 2
    i, j, k = (size // part for size, part in zip(probability.shape, sizes, strict=True))
    return mask_on_image(probability, ALIGNMENT, SPACING_MM, volume_on(CROP @ step, (i, j, k)))


@pytest.mark.parametrize(("filled", "expected"), [((1, 2), False), ((0, 1, 3), True), ((1, 2, 3), True), ((0,), False)])
def test_a_voxel_of_four_is_in_by_more_than_half(filled: tuple[int, ...], expected: bool) -> None:
    """Its centre lies between the second and the third, where one would read 1, 0.5, 1 and 0."""
    probability = np.zeros((8, 12, 16), dtype=np.float32)
    for at in filled:
        probability[:, :, 8 + at] = 1
    mask = on_voxels_of((1, 1, 4), probability)
    assert mask.shape == (8, 12, 4)
    assert (mask[:, :, 2] == expected).all()
    assert not mask[:, :, [0, 1, 3]].any()


def test_blocks_have_the_mean_of_their_voxels() -> None:
    probability = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    means = probability.reshape(4, 3, 6, 2, 12, 1).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(on_voxels_of((3, 2, 1), probability), means > 0.5)


def test_nothing_is_found_beyond_the_crop_or_in_an_empty_one() -> None:
    full = np.ones((8, 8, 8), dtype=np.float32)
    far = CROP.copy()
    far[:3, 3] += 50
    volume = volume_on(far, (10, 10, 10))
    assert not mask_on_image(full, ALIGNMENT, SPACING_MM, volume).any()
    assert not mask_on_image(np.zeros_like(full), ALIGNMENT, SPACING_MM, volume_on(CROP, (8, 8, 8))).any()
    wide = CROP.copy()
    wide[:3, 3] -= CROP[:3, :3] @ [3, 3, 3]
    mask = mask_on_image(full, ALIGNMENT, SPACING_MM, volume_on(wide, (14, 14, 14)))
    np.testing.assert_array_equal(mask, np.pad(np.ones((8, 8, 8), dtype=bool), 3))
