"""Random changes of a training case that keep its vertices true: shape, pose, contrast, noise, field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from model.registration.control_grid import expand, sample_spanning


@dataclass(frozen=True)
class AugmentOptions:
    """Strength of the random changes.

    Attributes:
        pose: largest strength of rotation, translation and size; each draw is uniform from 0 to it.
        shape: smallest and largest strength of the random displacements.
        rotation_deg: standard deviation of the rotation vector along each axis.
        translation_mm: standard deviation along each axis.
        scale: standard deviation of the relative size, overall and of each axis again at half.
        controls: control points per axis of the random displacements, coarse to fine.
        displacements_mm: standard deviation of the coefficients of each.
        spacing_mm: voxel of the crop.
        window_hu: low and high end of the intensity window.
        gain: standard deviation of the contrast factor.
        offset: standard deviation of the brightness offset, window halves.
        noise: largest standard deviation of the added noise, window halves.
        cut: chance that part of the field of view is missing.
        shading: standard deviation of a smooth change of brightness across the view, window halves.
        refill: chance that what fills the labyrinth is exchanged, where its lumen is known.
        fillings_hu: lowest and highest HU of the filling, from air to contrast agent.
    """

    pose: float = 1.3
    shape: tuple[float, float] = (0.0, 1.6)

    rotation_deg: float = 4.0
    translation_mm: float = 0.35
    scale: float = 0.04
    controls: tuple[int, ...] = (5, 8, 13, 20)
    displacements_mm: tuple[float, ...] = (0.5, 0.4, 0.25, 0.12)
    spacing_mm: float = 0.2
    window_hu: tuple[float, float] = (-1000.0, 2600.0)
    gain: float = 0.1
    offset: float = 0.05
    noise: float = 0.08
    cut: float = 0.3
    shading: float = 0.06
    refill: float = 0.5
    fillings_hu: tuple[float, float] = (-900.0, 500.0)


class RandomWarp:
    """A random smooth map from the changed crop back to the stored one: x -> A(x) + w(x)."""

    def __init__(self, rng: np.random.Generator, grid: int, options: AugmentOptions, samples: int = 32) -> None:
        """Draw the map for a cubic crop of `grid` voxels."""
        self.grid = grid
        # From none to more than usual: later passes of a network see ears that lie right already.
        strength = rng.uniform(0, options.pose)
        rotation = Rotation.from_rotvec(np.radians(rng.normal(0, strength * options.rotation_deg, 3))).as_matrix()
        size = np.exp(strength * (rng.normal(0, options.scale) + rng.normal(0, options.scale / 2, 3)))
        centre = (grid - 1) / 2
        shift = rng.normal(0, strength * options.translation_mm / options.spacing_mm, 3)
        matrix = rotation @ np.diag(size)
        self.matrix = torch.from_numpy(matrix).float()
        self.offset = torch.from_numpy(centre - matrix @ np.full(3, centre) + shift).float()
        self.field = torch.zeros(3, samples, samples, samples)
        for controls, displacement in zip(options.controls, options.displacements_mm, strict=True):
            sigma = rng.uniform(*options.shape) * displacement / options.spacing_mm
            coefficients = rng.normal(0, sigma, (3, controls, controls, controls))
            self.field += expand(torch.from_numpy(coefficients).float(), (samples,) * 3)

    def __call__(self, points_ijk: Tensor) -> Tensor:
        """Map (N, 3) points of the changed crop to the stored crop, voxels."""
        further = sample_spanning(self.field, points_ijk, (self.grid,) * 3)
        mapped: Tensor = points_ijk @ self.matrix.T + self.offset + further
        return mapped

    def inverse(self, points_ijk: Tensor, iterations: int = 12) -> Tensor:
        """Map (N, 3) points of the stored crop to the changed one, by fixed-point iteration."""
        back = torch.linalg.inv(self.matrix).T
        guess: Tensor = (points_ijk - self.offset) @ back
        for _ in range(iterations):
            residual = points_ijk - self(guess)
            guess = guess + residual @ back
        return guess


def random_view(
    image: Tensor,
    vertices: Tensor,
    grid: int,
    region: tuple[float, float],
    samples: int,
    rng: np.random.Generator,
    options: AugmentOptions,
    *,
    stack: int = 1,
    lumen: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Change a case at random and show it as a network sees it.

    Args:
        image: (n, n, n) HU of the stored crop; n divides `grid`.
        vertices: (N, 3) true vertices in the stored crop, voxels.
        grid: voxels of the crop along each axis.
        region: first and last voxel of the view along each axis.
        samples: cells of the view along each axis.
        stack: samples along each edge of a cell.
        lumen: (n, n, n) share of each stored voxel that lies in the labyrinth, when its filling may be exchanged.
        rng: source of all randomness.
        options: strength of the changes.

    Returns:
        (n, n, n) view with intensities in [-1, 1], n = samples * stack, and the (N, 3) vertices in the changed crop.
    """
    warp = RandomWarp(rng, grid, options)
    line = torch.linspace(region[0], region[1], samples)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1).reshape(-1, 3)
    where = warp(points).T.reshape(1, 3, samples, samples, samples)
    if stack > 1:
        # The warp is smooth: between the cells' points it is interpolated.
        where = torch.nn.functional.interpolate(where, (samples * stack,) * 3, mode="trilinear", align_corners=True)
    image = image.float()
    if lumen is not None and rng.random() < options.refill:
        image = refilled(image, lumen, float(rng.uniform(*options.fillings_hu)), options)
    view = _sample(image, where.flatten(2)[0].T, grid).reshape(where.shape[2:])
    return _intensities(view, rng, options), warp.inverse(vertices)


def refilled(image_hu: Tensor, lumen: Tensor, filling_hu: float, options: AugmentOptions) -> Tensor:
    """Exchange what fills the labyrinth, its texture kept: specimens are drained or hold fluid, patients hold fluid.

    Args:
        image_hu: (n, n, n) HU.
        lumen: (n, n, n) share of each voxel that lies in the labyrinth.
        filling_hu: mean HU of the new filling.
        options: for the window; brighter voxels hold metal and stay.
    """
    inside = (lumen > 0.9) & (image_hu < options.window_hu[1])
    if not bool(inside.any()):
        return image_hu
    change = lumen * (filling_hu - image_hu[inside].mean())
    return torch.where(image_hu < options.window_hu[1], image_hu + change, image_hu)


def _shading(size: int, rng: np.random.Generator, sigma: float) -> Tensor:
    """Give a smooth (size^3) change of brightness, of standard deviation `sigma` at its control points."""
    coefficients = torch.from_numpy(rng.normal(0, sigma, (1, 5, 5, 5))).float()
    return expand(coefficients, (size,) * 3)[0]


def _sample(image: Tensor, points_ijk: Tensor, grid: int) -> Tensor:
    """Interpolate an image that covers a crop of `grid` voxels, at that or a coarser resolution, at crop points."""
    factor = grid // image.shape[0]
    own = (points_ijk - (factor - 1) / 2) / factor
    return sample_spanning(image[None], own, image.shape)[:, 0]


def _intensities(view_hu: Tensor, rng: np.random.Generator, options: AugmentOptions) -> Tensor:
    """Window, then change contrast, brightness, noise and field of view."""
    low, high = options.window_hu
    view = (view_hu.clamp(low, high) - low) * (2 / (high - low)) - 1
    gamma = float(np.exp(rng.normal(0, 0.15)))
    view = ((view + 1) / 2).clamp(min=0) ** gamma * 2 - 1
    view = view * float(np.exp(rng.normal(0, options.gain))) + float(rng.normal(0, options.offset))
    view = view + _shading(view.shape[0], rng, options.shading)
    if rng.random() < 0.3:
        view = torch.nn.functional.avg_pool3d(view[None, None], 3, stride=1, padding=1, count_include_pad=False)[0, 0]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    view = view + torch.randn(view.shape, generator=generator) * float(rng.uniform(0, options.noise))
    if rng.random() < options.cut:
        axis, count = int(rng.integers(3)), int(rng.integers(1, view.shape[0] // 6))
        start = 0 if rng.random() < 0.5 else view.shape[0] - count
        view.narrow(axis, start, count).fill_(-1.0)
    return view.clamp(-1, 1)
