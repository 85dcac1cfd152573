"""Synthetic images and frames whose truth is known in closed form."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import nibabel
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks, Side
from model.volumes.volume import Volume

FloatArray = npt.NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)

LANDMARKS_IJK = {
    "RW": (67.81, 57.45, 42.49),
    "C": (44.72, 41.93, 51.6),
    "A": (52.07, 29.72, 49.6),
    "OW": (68.97, 54.92, 56.75),
    "V": (65.42, 62.24, 59.92),
}


def full_frame() -> CanonicalFrame:
    """Give the frame of the shipped models."""
    return CanonicalFrame((128, 128, 128), 0.2, "LPS", "left", MappingProxyType(dict(LANDMARKS_IJK)))


def small_frame(grid: tuple[int, int, int] = (32, 36, 40), spacing_mm: float = 0.6) -> CanonicalFrame:
    """Give a frame with unequal sides, so that swapped axes show; the landmarks keep their millimetres."""
    scale = 0.2 / spacing_mm
    shrunk = {name: (i * scale, j * scale, k * scale) for name, (i, j, k) in LANDMARKS_IJK.items()}
    return CanonicalFrame(grid, spacing_mm, "LPS", "left", MappingProxyType(shrunk))


def pose(angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> FloatArray:
    """Give a (4, 4) rotation about x, y, z and translation."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def patient_landmarks(frame: CanonicalFrame, side: Side, motion: FloatArray, stated: Side | None = None) -> Landmarks:
    """Put the frame's landmarks into a patient: an ear of the given side, moved rigidly.

    The anatomy is written down again from its meaning: canonical L, P, S millimetres of a left ear are RAS after a sign
    change of the first two; a right ear has the opposite R.
    """
    points = {}
    for name, (i, j, k) in frame.landmarks_ijk.items():
        left, posterior, superior = i * frame.spacing_mm, j * frame.spacing_mm, k * frame.spacing_mm
        right = -left if side == "left" else left
        x, y, z = motion[:3, :3] @ np.array([right, -posterior, superior]) + motion[:3, 3]
        points[name] = (float(x), float(y), float(z))
    return Landmarks(points, stated)


def make_volume(data: npt.NDArray[np.float32], affine: FloatArray) -> Volume:
    """Wrap an array as a volume."""
    header = nibabel.Nifti1Image(data, affine).header
    return Volume(np.asarray(data, dtype=np.float32), affine, header)


def voxel_centres(shape: tuple[int, int, int], affine: FloatArray) -> FloatArray:
    """Give (I, J, K, 3) RAS positions of the voxel centres, one voxel at a time formula."""
    index = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), axis=-1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


def linear_image(shape: tuple[int, int, int], affine: FloatArray) -> Volume:
    """Sample 100 + 7 x - 3 y + 2 z (RAS mm): trilinear interpolation is exact on it."""
    return make_volume(linear_value(voxel_centres(shape, affine)).astype(np.float32), affine)


def linear_value(points_ras: FloatArray) -> FloatArray:
    """Give the value of `linear_image` at points."""
    return np.asarray(100.0 + points_ras @ np.array([7.0, -3.0, 2.0]))


def random_image(shape: tuple[int, int, int], affine: FloatArray, seed: int = 0) -> Volume:
    """Give noise, on which any mistake of a voxel shows."""
    values = np.random.default_rng(seed).normal(size=shape) * 500.0
    return make_volume(values.astype(np.float32), affine)


def load_nifti(path: Path) -> Any:  # noqa: ANN401 - nibabel's loader does not say which kind of image it gives
    """Open an image with nibabel."""
    return nibabel.load(path)


def orientations(data: npt.NDArray[Number], affine: FloatArray) -> Iterator[tuple[npt.NDArray[Number], FloatArray]]:
    """Give the 48 ways to store an image: axes permuted and flipped, the affine following."""
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            stored = np.transpose(data, order)
            matrix = np.eye(4)
            matrix[:3, :3] = affine[:3, list(order)]
            matrix[:3, 3] = affine[:3, 3]
            for axis, flip in enumerate(flips):
                if flip:
                    stored = np.flip(stored, axis)
                    matrix[:3, 3] += matrix[:3, axis] * (stored.shape[axis] - 1)
                    matrix[:3, axis] *= -1.0
            yield np.ascontiguousarray(stored), matrix
