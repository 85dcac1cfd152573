"""Random anatomy: how one ear differs from the atlas, as a smooth invertible map with known truth.

The map carries an atlas point p to the ear: x = A (p + s(p)), where s is a smooth random displacement (shape) and A
an affine map (size and the error of landmark alignment). Both ways are known: points of the atlas go forward exactly,
grids of the ear go back to the atlas by fixed-point iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from model.errors import RunError
from model.synthesis.grid import CANONICAL_SIZE, CANONICAL_SPACING_MM, Float32Array, FloatArray, RenderGrid
from model.synthesis.splines import SplineField, linear_upsampling, sample, upsample

Box = tuple[slice, slice, slice]

_CENTRE_IJK = (CANONICAL_SIZE - 1) / 2
_MIN_JACOBIAN = 0.25
# A cubic B-spline of white coefficients has the mean of its squared weights, 151/315 per axis, of their variance.
_SPLINE_GAIN = (151 / 315) ** 1.5
_MAX_ITERATIONS = 20
_TOLERANCE_VOXELS = 0.04
_COARSE = RenderGrid(4)
_FOLD_CHECK = RenderGrid(2)


@dataclass(frozen=True)
class DeformationOptions:
    """How much ears differ; standard deviations unless said, millimetres and degrees.

    Attributes:
        scales_mm: lattice spacings of the random displacement.
        amplitudes_mm: displacement per axis of each scale.
        amplitude_spread: each ear's amplitudes are multiplied by a number from 1 - spread to 1 + spread.
        rotation_deg: rotation about each axis.
        translation_mm: translation along each axis.
        scale: relative size, one number for all axes.
        stretch: relative size of single axes, on top of `scale`.
        mode_weight: multiplies the coefficients of the shape modes.
    """

    scales_mm: tuple[float, ...] = (8.0, 5.0, 3.0)
    amplitudes_mm: tuple[float, ...] = (0.18, 0.16, 0.08)
    amplitude_spread: float = 0.5
    rotation_deg: float = 4.0
    translation_mm: float = 0.35
    scale: float = 0.04
    stretch: float = 0.02
    mode_weight: float = 1.0


@dataclass(frozen=True)
class Deformation:
    """A map of atlas points to an ear, both in canonical ijk.

    Attributes:
        components: displacement fields (voxels) that add up to s(p).
        affine: (4, 4) matrix A, canonical ijk to canonical ijk.
    """

    components: tuple[SplineField, ...]
    affine: FloatArray

    def displace(self, points_ijk: npt.ArrayLike) -> FloatArray:
        """Carry (N, 3) atlas points, canonical ijk, to the ear."""
        points = np.asarray(points_ijk, dtype=np.float64)
        moved = points + sum((component.at_points(points) for component in self.components), np.zeros_like(points))
        return np.asarray(moved @ self.affine[:3, :3].T + self.affine[:3, 3])

    def shape_field(self, grid: RenderGrid) -> Float32Array:
        """Give s(p), (3, n, n, n) canonical voxels, at the centres of a grid."""
        field = np.zeros((3, grid.size, grid.size, grid.size), dtype=np.float32)
        for component in self.components:
            field += component.on_axes(grid.centres)
        return field

    def ddf(self, grid: RenderGrid) -> Float32Array:
        """Give the forward displacement x - p, (3, n, n, n) canonical voxels, at the centres p of a grid."""
        points = grid.points()
        moved = points + self.shape_field(grid)
        matrix = self.affine.astype(np.float32)
        carried = np.tensordot(matrix[:3, :3], moved, axes=1) + matrix[:3, 3].reshape(3, 1, 1, 1)
        return np.asarray(carried - points, dtype=np.float32)

    def to_atlas(self, grid: RenderGrid, box: Box | None = None) -> Float32Array:
        """Give the atlas point p, canonical ijk, that lands on each centre x of a grid.

        Solves p = A^-1 x - s(p) by fixed-point iteration on a 0.8 mm grid and interpolates linearly between.

        Args:
            grid: the grid of x.
            box: a slice per axis when only a part of the grid is wanted.

        Returns:
            (3, n, n, n) float32, or the box of it.
        """
        box = box or (slice(None),) * 3
        weights = [linear_upsampling(_COARSE.centres, grid.centres[part]) for part in box]
        return upsample(self._coarse_to_atlas, *weights)

    @cached_property
    def _coarse_to_atlas(self) -> Float32Array:
        """Atlas points of the centres of the 0.8 mm grid."""
        inverse = np.linalg.inv(self.affine).astype(np.float32)
        start = np.tensordot(inverse[:3, :3], _COARSE.points(), axes=1) + inverse[:3, 3].reshape(3, 1, 1, 1)
        field = self.shape_field(_FOLD_CHECK)
        first, step = np.float32(_FOLD_CHECK.centres[0]), np.float32(_FOLD_CHECK.factor)
        atlas_points = start
        for _ in range(_MAX_ITERATIONS):
            where = (atlas_points - first) / step
            moved = start - sample(field, where)
            change = float(np.abs(moved - atlas_points).max())
            atlas_points = moved
            if change < _TOLERANCE_VOXELS:
                break
        return atlas_points

    def jacobian_determinant(self, grid: RenderGrid) -> Float32Array:
        """Give det(dx/dp) at the centres of a grid, by central differences."""
        x, y, z = (np.gradient(channel, grid.factor) for channel in grid.points() + self.shape_field(grid))
        determinant = (
            x[0] * (y[1] * z[2] - y[2] * z[1]) - x[1] * (y[0] * z[2] - y[2] * z[0]) + x[2] * (y[0] * z[1] - y[1] * z[0])
        )
        return np.asarray(determinant * np.linalg.det(self.affine[:3, :3]), dtype=np.float32)


def random_deformation(
    rng: np.random.Generator,
    options: DeformationOptions | None = None,
    modes: npt.NDArray[np.floating] | None = None,
) -> Deformation:
    """Draw a fold-free deformation.

    Args:
        rng: source of randomness; the same state gives the same deformation.
        options: sizes of the differences.
        modes: (M, 3, g, g, g) displacement fields in canonical voxels, one standard deviation each, at nodes spread
            evenly from voxel 0 to 127 on each axis; their coefficients are drawn from N(0, 1), truncated at 2.5.

    Raises:
        ValueError: when `modes` has another shape.
        RunError: when the field folds however small it is made.
    """
    options = options or DeformationOptions()
    components = [_noise_field(rng, scale, size, options) for scale, size in _scales(options)]
    if modes is not None:
        components.append(_mode_field(rng, modes, options))
    affine = _pose(rng, options)
    for _ in range(12):
        deformation = Deformation(tuple(components), affine)
        if float(deformation.jacobian_determinant(_FOLD_CHECK).min()) > _MIN_JACOBIAN:
            return deformation
        # A smaller field of the same shape folds less; at amplitude zero the map is affine.
        components = [SplineField(0.8 * part.coefficients, part.origin, part.step) for part in components]
    raise RunError(
        "The random deformation folds.",
        expected="a Jacobian determinant above 0.25",
        hint="Use smaller amplitudes or coarser scales.",
    )


def _scales(options: DeformationOptions) -> list[tuple[float, float]]:
    """Pair lattice spacings with amplitudes, in millimetres."""
    if len(options.scales_mm) != len(options.amplitudes_mm):
        raise ValueError("deformation: expected as many amplitudes as scales")
    return list(zip(options.scales_mm, options.amplitudes_mm, strict=True))


def _noise_field(
    rng: np.random.Generator, scale_mm: float, amplitude_mm: float, options: DeformationOptions
) -> SplineField:
    """Draw white B-spline coefficients on a lattice that reaches one node beyond the crop, randomly shifted."""
    step = scale_mm / CANONICAL_SPACING_MM
    nodes = int(np.ceil(CANONICAL_SIZE / step)) + 4
    spread = rng.uniform(1 - options.amplitude_spread, 1 + options.amplitude_spread)
    strength = amplitude_mm / CANONICAL_SPACING_MM * spread
    coefficients = rng.standard_normal((3, nodes, nodes, nodes)) * (strength / _SPLINE_GAIN)
    return SplineField(coefficients, -step * (1.0 + rng.uniform()), step)


def _mode_field(rng: np.random.Generator, modes: npt.NDArray[np.floating], options: DeformationOptions) -> SplineField:
    """Draw one coefficient per shape mode and add the modes up."""
    if modes.ndim != 5 or modes.shape[1] != 3 or len(set(modes.shape[2:])) != 1:
        raise ValueError(f"modes: expected shape (M, 3, g, g, g), found {modes.shape}")
    drawn = np.clip(rng.standard_normal(len(modes)), -2.5, 2.5) * options.mode_weight
    return SplineField.interpolating(np.tensordot(drawn, modes, axes=1))


def _pose(rng: np.random.Generator, options: DeformationOptions) -> FloatArray:
    """Draw rotation, size and shift about the centre of the crop."""
    rotation = Rotation.from_rotvec(np.radians(rng.normal(0.0, options.rotation_deg, 3))).as_matrix()
    size = 1.0 + np.clip(rng.normal(0.0, options.scale), -2.5 * options.scale, 2.5 * options.scale)
    sizes = size * (1.0 + np.clip(rng.normal(0.0, options.stretch, 3), -0.1, 0.1))
    shift = rng.normal(0.0, options.translation_mm / CANONICAL_SPACING_MM, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag(sizes)
    matrix[:3, 3] = _CENTRE_IJK - matrix[:3, :3] @ np.full(3, _CENTRE_IJK) + shift
    return matrix
