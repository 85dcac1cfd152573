"""Smooth vector fields over the canonical crop, held by cubic B-spline coefficients on a lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates, spline_filter

from model.synthesis.grid import CANONICAL_SIZE, Float32Array, FloatArray


@dataclass(frozen=True)
class SplineField:
    """A vector field u(p), canonical voxels, over canonical ijk p.

    Attributes:
        coefficients: (C, g, g, g) B-spline coefficients; beyond the lattice they continue mirrored.
        origin: canonical index of lattice node 0 (the same on each axis).
        step: distance of lattice nodes in canonical voxels.
    """

    coefficients: FloatArray
    origin: float
    step: float

    @classmethod
    def interpolating(cls, values: npt.ArrayLike) -> SplineField:
        """Give the cubic spline through values at nodes spread evenly from voxel 0 to voxel 127.

        Args:
            values: (C, g, g, g) with g >= 2.
        """
        array = np.asarray(values, dtype=np.float64)
        filtered = np.stack([spline_filter(channel, order=3, mode="mirror") for channel in array])
        return cls(filtered, 0.0, (CANONICAL_SIZE - 1) / (array.shape[-1] - 1))

    def at_points(self, points_ijk: npt.ArrayLike) -> FloatArray:
        """Evaluate at (N, 3) canonical ijk; gives (N, C)."""
        where = (np.asarray(points_ijk, dtype=np.float64).T - self.origin) / self.step
        columns = [
            map_coordinates(channel, where, order=3, mode="mirror", prefilter=False) for channel in self.coefficients
        ]
        return np.stack(columns, axis=1)

    def on_axes(self, centres: FloatArray) -> Float32Array:
        """Evaluate on the product grid of one list of canonical indices per axis; gives (C, n, n, n)."""
        basis = _basis(centres, self.origin, self.step, self.coefficients.shape[-1]).astype(np.float32)
        return upsample(self.coefficients.astype(np.float32), basis, basis, basis)


def _basis(centres: FloatArray, origin: float, step: float, nodes: int) -> FloatArray:
    """Weights (n, nodes) of the uniform cubic B-spline at the given positions, mirrored at the ends."""
    where = (np.asarray(centres, dtype=np.float64) - origin) / step
    weights = np.zeros((len(where), nodes))
    first = np.floor(where).astype(int) - 1
    for tap in range(4):
        distance = np.abs(where - (first + tap))
        near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
        far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
        index = np.abs(first + tap)
        index = np.where(index > nodes - 1, 2 * (nodes - 1) - index, index)
        np.add.at(weights, (np.arange(len(where)), index), np.where(distance < 1.0, near, far))
    return weights


def linear_upsampling(source: FloatArray, target: FloatArray) -> Float32Array:
    """Weights (len(target), len(source)) of linear interpolation between increasing, even positions.

    Targets beyond the ends are extrapolated, which keeps distances and displacements going.
    """
    step = float(source[1] - source[0])
    where = (target - source[0]) / step
    low = np.clip(np.floor(where).astype(int), 0, len(source) - 2)
    fraction = where - low
    weights = np.zeros((len(target), len(source)), dtype=np.float32)
    rows = np.arange(len(target))
    weights[rows, low] = 1.0 - fraction
    weights[rows, low + 1] = fraction
    return weights


def upsample(volume: Float32Array, along_i: Float32Array, along_j: Float32Array, along_k: Float32Array) -> Float32Array:
    """Apply one (n, m) weight matrix along each of the last three axes of a (c, i, j, k) array."""
    volume = volume @ along_k.T
    volume = along_j @ volume
    channels, width, *rest = volume.shape
    flat = volume.reshape(channels, width, -1)
    return np.asarray(along_i @ flat).reshape(channels, len(along_i), *rest)


def sample(fields: Float32Array, points_ijk: Float32Array) -> Float32Array:
    """Interpolate fields linearly; beyond the border they keep the border's value.

    Args:
        fields: (C, a, b, c) values at integer positions.
        points_ijk: (3, ...) positions, in indices of the fields.

    Returns:
        (C, ...) float32.
    """
    shape = fields.shape[1:]
    strides = (shape[1] * shape[2], shape[2], 1)
    base = np.zeros(points_ijk.shape[1:], dtype=np.int32)
    fractions = []
    for axis in range(3):
        where = np.clip(points_ijk[axis], 0.0, np.float32(shape[axis] - 1))
        low = np.minimum(where.astype(np.int32), shape[axis] - 2)
        base += low * np.int32(strides[axis])
        fractions.append((where - low).astype(np.float32))
    x, y, z = fractions
    # The eight corner weights and places are the same for all fields.
    corners = [(di * strides[0] + dj * strides[1] + dk, _w(x, di) * _w(y, dj) * _w(z, dk)) for di, dj, dk in _CORNERS]
    result = np.zeros((len(fields), *base.shape), dtype=np.float32)
    for field, out in zip(fields, result, strict=True):
        flat = field.ravel()
        for offset, weight in corners:
            out += weight * flat.take(base + offset)
    return result


_CORNERS = [(di, dj, dk) for di in (0, 1) for dj in (0, 1) for dk in (0, 1)]


def _w(fraction: Float32Array, corner: int) -> Float32Array:
    """Give the weight of the lower (0) or upper (1) neighbour."""
    return fraction if corner else 1.0 - fraction
