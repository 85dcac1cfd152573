"""Random changes keep image and vertices together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.training.augment import AugmentOptions, RandomWarp, random_view, refilled

GRID = 64
PLAIN = AugmentOptions(gain=0.0, offset=0.0, noise=0.0, cut=0.0, shading=0.0, refill=0.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_inverse_inverts(seed: int) -> None:
    warp = RandomWarp(np.random.default_rng(seed), GRID, AugmentOptions())
    points = torch.from_numpy(np.random.default_rng(1).uniform(8, GRID - 9, (200, 3))).float()
    # A tenth of a voxel is 0.02 mm.
    assert (warp(warp.inverse(points)) - points).abs().max() < 0.1
    assert (warp.inverse(warp(points)) - points).abs().max() < 0.2


def test_changes_are_of_the_stated_size_and_differ() -> None:
    points = torch.from_numpy(np.random.default_rng(1).uniform(8, GRID - 9, (100, 3))).float()
    sizes = [
        float((RandomWarp(np.random.default_rng(seed), GRID, AugmentOptions())(points) - points).norm(dim=1).mean())
        for seed in range(12)
    ]
    assert 0.0 < min(sizes) < 2.0 < max(sizes) < 15.0
    nothing = AugmentOptions(rotation_deg=0, translation_mm=0, scale=0, displacements_mm=(0, 0, 0, 0))
    torch.testing.assert_close(RandomWarp(np.random.default_rng(0), GRID, nothing)(points), points)


def blob(centre: np.ndarray[tuple[int], np.dtype[np.float64]], size: int, width: float) -> torch.Tensor:
    """Give an image in HU with a bright blob about a point, both in its own voxels."""
    offset = np.moveaxis(np.indices((size,) * 3), 0, -1) - centre
    return torch.from_numpy(2500 * np.exp(-(offset**2).sum(-1) / (2 * width**2)) - 1000).float()


@pytest.mark.parametrize("size", [GRID, GRID // 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_blob_stays_at_its_vertex(size: int, seed: int) -> None:
    vertex = np.array([22.0, 30.0, 41.0])
    factor = GRID // size
    # A voxel of the coarser image is the mean of 2 x 2 x 2, so its centre lies between theirs.
    image = blob((vertex - (factor - 1) / 2) / factor, size, 3.0 / factor)
    first, last, samples = 4.0, 60.0, 57
    view, moved = random_view(
        image,
        torch.from_numpy(vertex[None]).float(),
        GRID,
        (first, last),
        samples,
        np.random.default_rng(seed),
        PLAIN,
    )
    assert view.shape == (samples,) * 3
    assert float(view.min()) >= -1
    assert float(view.max()) <= 1
    weight = (view - view.min()).clamp(min=0.3) - 0.3
    places = torch.stack(torch.meshgrid(*[torch.arange(float(samples))] * 3, indexing="ij"), -1)
    centre = (places * weight[..., None]).sum(dim=(0, 1, 2)) / weight.sum()
    spacing = (last - first) / (samples - 1)
    assert ((centre * spacing + first) - moved[0]).abs().max() < 0.5


def test_a_denser_view_of_one_ear_shows_the_same() -> None:
    """With two samples along each edge of a cell the view spans the same region, twice as finely."""
    vertex = np.array([22.0, 30.0, 41.0])
    image, points = blob(vertex, GRID, 4.0), torch.from_numpy(vertex[None]).float()
    coarse, moved = random_view(image, points, GRID, (4.0, 60.0), 29, np.random.default_rng(3), PLAIN)
    fine, same = random_view(image, points, GRID, (4.0, 60.0), 29, np.random.default_rng(3), PLAIN, stack=2)
    assert fine.shape == (58,) * 3
    torch.testing.assert_close(moved, same)
    again = torch.nn.functional.interpolate(fine[None, None], (29,) * 3, mode="trilinear", align_corners=True)[0, 0]
    assert (again - coarse).abs().max() < 0.1


def test_another_filling_changes_the_lumen_alone_and_keeps_its_texture() -> None:
    generator = torch.Generator().manual_seed(0)
    image = 1500 + 40 * torch.randn(16, 16, 16, generator=generator)
    lumen = torch.zeros(16, 16, 16)
    lumen[4:9, 5:12, 6:10] = 1
    image[lumen > 0] -= 1450
    image[5, 6, 7] = 3071  # a contact
    filled = refilled(image, lumen, -700.0, AugmentOptions())
    inside = (lumen > 0) & (image < 3000)
    assert float(filled[inside].mean()) == pytest.approx(-700, abs=0.5)
    assert float(filled[inside].std()) == pytest.approx(float(image[inside].std()), rel=1e-4)
    assert torch.equal(filled[lumen == 0], image[lumen == 0])
    assert float(filled[5, 6, 7]) == 3071
    assert torch.equal(refilled(image, torch.zeros_like(lumen), -700.0, AugmentOptions()), image)


def test_intensities_change_only_as_asked_for() -> None:
    image = torch.full((16, 16, 16), 800.0)
    options = replace(PLAIN, cut=1.0)
    view, _ = random_view(image, torch.zeros(1, 3), 16, (0, 15), 16, np.random.default_rng(0), options)
    missing = view == -1
    grey = view[~missing]
    assert float(grey.max() - grey.min()) < 1e-5  # one grey, and the part of the field of view that is missing
    assert 0 < int(missing.sum()) < missing.numel()
    # A slab at one end of one axis: it is cut the same everywhere else.
    slabs = [missing.float().mean(dim=other) for other in ((1, 2), (0, 2), (0, 1))]
    whole = [slab for slab in slabs if bool(((slab == 0) | (slab == 1)).all())]
    assert len(whole) == 1
    assert bool(whole[0][0] == 1) != bool(whole[0][-1] == 1)


def test_the_same_source_gives_the_same_view() -> None:
    image, vertices = torch.randn(16, 16, 16) * 500, torch.rand(5, 3) * 15
    views = [
        random_view(image, vertices, 16, (0, 15), 12, np.random.default_rng(seed), AugmentOptions())
        for seed in (1, 1, 2)
    ]
    assert torch.equal(views[0][0], views[1][0])
    assert torch.equal(views[0][1], views[1][1])
    assert not torch.equal(views[0][0], views[2][0])
