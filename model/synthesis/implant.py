"""Put a cochlear implant into an image in the canonical frame, real or synthetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import affine_transform
from scipy.sparse import csr_matrix

from model.geometry.spaces import apply_affine
from model.meshes.mesh import SurfaceMesh
from model.synthesis.carrier import carrier_change
from model.synthesis.electrode import ElectrodeArray, insert_array
from model.synthesis.grid import CANONICAL_SIZE, CANONICAL_SPACING_MM, Float32Array, FloatArray, RenderGrid
from model.synthesis.metal import MetalParameters, metal_artifact, random_metal
from model.synthesis.radon import REACH_MM, back_projector
from model.synthesis.scan import ScanFrame, Slices
from model.synthesis.scanner import HU_MAX, HU_MIN, ScannerParameters, random_scanner
from model.synthesis.sinogram import Surrounding

BoolArray = npt.NDArray[np.bool_]

_METAL_RADIUS_MM = 0.25
_SILICONE_FWHM_MM = 0.45
_SLICE_MM = 0.3


@dataclass(frozen=True)
class Implanted:
    """An ear with an implant.

    Attributes:
        image_hu: (n, n, n) float32 HU with metal and artifacts, clipped to 12-bit numbers.
        metal: (n, n, n) bool, voxels that hold a contact or a wire.
        array: the electrode array.
        acquisition: what shaped the artifact.
    """

    image_hu: Float32Array
    metal: BoolArray
    array: ElectrodeArray
    acquisition: MetalParameters


def implant_into(image_hu: npt.ArrayLike, meshes: Mapping[str, SurfaceMesh], seed: int) -> Implanted:
    """Insert a random electrode array into an image in the canonical frame, as scanned in a random pose.

    Raw CT is better served by `insert.insert_implant`, which knows the slices of the scan.

    Args:
        image_hu: (n, n, n) HU on the canonical crop: 128 voxels of 0.2 mm, or 64 of 0.4 mm.
        meshes: modiolus and scala tympani (with `angle_deg`) of this ear, in canonical ijk.
        seed: the same seed gives the same implant.

    Raises:
        OptionError: when the image's size does not divide 128.
        ValueError: when the image is not cubic.
    """
    image = np.asarray(image_hu, dtype=np.float32)
    if image.ndim != 3 or len(set(image.shape)) != 1 or not 1 <= image.shape[0] <= CANONICAL_SIZE:
        raise ValueError(f"image_hu: expected a cubic array of at most 128 voxels, found {image.shape}")
    grid = RenderGrid(round(CANONICAL_SIZE / image.shape[0]))
    if grid.size != image.shape[0]:
        raise ValueError(f"image_hu: expected 128, 64 or 32 voxels along each axis, found {image.shape[0]}")
    rng = np.random.default_rng(seed)
    array, acquisition, artifact = draw_implant(meshes, rng, image, random_scanner(rng), grid)
    # Outside the field of view nothing was measured, so no artifact shows there either.
    changed = np.where(image > HU_MIN, np.clip(image + artifact, HU_MIN, HU_MAX), HU_MIN).astype(np.float32)
    return Implanted(changed, metal_mask(array, grid), array, acquisition)


def draw_implant(
    meshes: Mapping[str, SurfaceMesh],
    rng: np.random.Generator,
    image_hu: Float32Array,
    scanner: ScannerParameters,
    grid: RenderGrid,
) -> tuple[ElectrodeArray, MetalParameters, Float32Array]:
    """Draw an array, an acquisition and what both add to an image.

    The scan's slices are reconstructed in its own pose and then interpolated linearly to the canonical grid, as a real
    scan is.

    Args:
        meshes: modiolus and scala tympani of the ear, in canonical ijk.
        rng: source of randomness.
        image_hu: (n, n, n) image without implant on the grid.
        scanner: pose and slices of the scan.
        grid: the image's grid.

    Returns:
        The array, the acquisition, and (n, n, n) HU to add to the image.
    """
    array = insert_array(meshes, rng)
    views = 180 if grid.factor == 1 else 120
    acquisition = random_metal(rng, views, scanner.fwhm_mm[2])
    frame = ScanFrame(scanner.axes)
    slices, from_canonical = _lattice(frame, max(scanner.slice_mm, _SLICE_MM), grid)
    grid_to_scan = np.asarray(frame.from_canonical @ grid.to_canonical)
    surrounding = Surrounding(image_hu, np.asarray(np.linalg.inv(grid_to_scan), dtype=np.float64))
    projector = _projector(grid.factor, views)
    picture = metal_artifact(array, frame, slices, surrounding, acquisition, rng, projector)
    shape = (*_pixels(grid), len(slices.heights_mm))
    to_lattice = from_canonical @ grid.to_canonical
    artifact = affine_transform(
        picture.reshape(shape), to_lattice[:3, :3], to_lattice[:3, 3], image_hu.shape, np.float32, 1, "constant"
    )
    voxels, silicone = carrier_change(array, image_hu, grid.to_canonical, _SILICONE_FWHM_MM)
    artifact[tuple(voxels.T)] += silicone
    return array, acquisition, artifact


def _pixel_mm(grid: RenderGrid) -> float:
    """Give the pixel of the slices: linear interpolation between them averages as the grid's voxels would."""
    return 0.2 if grid.factor == 1 else 0.75 * grid.spacing_mm


def _pixels(grid: RenderGrid) -> tuple[int, int]:
    """Give the pixels of a slice that reaches as far as anything is reconstructed."""
    count = 2 * int(np.ceil(REACH_MM / _pixel_mm(grid))) + 1
    return count, count


def _uv(grid: RenderGrid) -> FloatArray:
    """Give the pixel centres of a slice, (p, 2) mm."""
    count = _pixels(grid)[0]
    axis = (np.arange(count) - (count - 1) / 2) * _pixel_mm(grid)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


@lru_cache(maxsize=2)
def _projector(factor: int, views: int) -> csr_matrix:
    """Keep the back-projection of the slices of a grid."""
    uv_mm = _uv(RenderGrid(factor))
    return back_projector(uv_mm[np.hypot(*uv_mm.T) < REACH_MM], views)


def _lattice(frame: ScanFrame, slice_mm: float, grid: RenderGrid) -> tuple[Slices, FloatArray]:
    """Give the slices of a scan that covers the crop, and the (4, 4) affine from canonical ijk to their indices."""
    half = float(np.abs(frame.rotation[2]).sum()) * CANONICAL_SIZE * CANONICAL_SPACING_MM / 2
    count = 2 * int(np.ceil(half / slice_mm)) + 1
    slices = Slices(_uv(grid), np.asarray((np.arange(count) - (count - 1) / 2) * slice_mm))
    pixel = _pixel_mm(grid)
    scale = np.diag([1 / pixel, 1 / pixel, 1 / slice_mm, 1.0])
    scale[:3, 3] = [(_pixels(grid)[0] - 1) / 2] * 2 + [(count - 1) / 2]
    return slices, np.asarray(scale @ frame.from_canonical)


def metal_mask(array: ElectrodeArray, grid: RenderGrid) -> BoolArray:
    """Mark the voxels of a canonical grid within 0.25 mm (at least half a voxel) of contacts and wires."""
    return metal_voxels(array, grid.to_canonical, (grid.size,) * 3)


def metal_voxels(array: ElectrodeArray, to_canonical: FloatArray, shape: tuple[int, int, int]) -> BoolArray:
    """Mark the voxels of an image within 0.25 mm (at least half its coarsest voxel) of contacts and wires.

    Args:
        array: the array, canonical ijk.
        to_canonical: (4, 4) affine, image ijk -> canonical ijk.
        shape: voxels of the image.
    """
    axes_mm = to_canonical[:3, :3] * CANONICAL_SPACING_MM
    spacing = np.linalg.norm(axes_mm, axis=0)
    radius = max(_METAL_RADIUS_MM, 0.5 * float(spacing.max()))
    reach = np.ceil(radius / spacing).astype(int)
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    centres = apply_affine(np.linalg.inv(to_canonical), array.pieces_ijk)
    voxels = np.round(centres).astype(int)[:, None, :] + offsets[None]
    near = np.linalg.norm((voxels - centres[:, None, :]) @ axes_mm.T, axis=2) <= radius
    valid = near & (voxels >= 0).all(axis=2) & (voxels < np.array(shape)).all(axis=2)
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(voxels[valid].T)] = True
    return mask
