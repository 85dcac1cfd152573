"""Put a cochlear implant into the CT of an ear, real or synthetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.meshes.mesh import SurfaceMesh
from model.synthesis.electrode import ElectrodeArray, insert_array
from model.synthesis.grid import CANONICAL_SIZE, CANONICAL_SPACING_MM, Float32Array, RenderGrid
from model.synthesis.metal import MetalParameters, metal_artifact, random_metal
from model.synthesis.scanner import HU_MAX, HU_MIN

BoolArray = npt.NDArray[np.bool_]

_METAL_RADIUS_MM = 0.25


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
    """Insert a random electrode array into an image in the canonical frame.

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
    array, acquisition, artifact = draw_implant(meshes, rng, grid)
    # Outside the field of view nothing was measured, so no artifact shows there either.
    changed = np.where(image > HU_MIN, np.clip(image + artifact, HU_MIN, HU_MAX), HU_MIN).astype(np.float32)
    return Implanted(changed, metal_mask(array, grid), array, acquisition)


def draw_implant(
    meshes: Mapping[str, SurfaceMesh], rng: np.random.Generator, grid: RenderGrid
) -> tuple[ElectrodeArray, MetalParameters, Float32Array]:
    """Draw an array, an acquisition and the artifact (HU to add) they give."""
    array = insert_array(meshes, rng)
    acquisition = random_metal(rng, views=180 if grid.factor == 1 else 120)
    return array, acquisition, metal_artifact(array, acquisition, rng, grid)


def metal_mask(array: ElectrodeArray, grid: RenderGrid) -> BoolArray:
    """Mark the voxels within 0.25 mm (at least half a voxel) of contacts and wires."""
    mask = np.zeros((grid.size,) * 3, dtype=bool)
    radius = max(_METAL_RADIUS_MM, 0.5 * grid.spacing_mm) / CANONICAL_SPACING_MM / grid.factor
    reach = int(np.ceil(radius))
    offsets = np.argwhere(np.ones((2 * reach + 1,) * 3)) - reach
    centres = (array.pieces_ijk - grid.to_canonical[0, 3]) / grid.factor
    voxels = np.round(centres).astype(int)[:, None, :] + offsets[None]
    near = np.linalg.norm(voxels - centres[:, None, :], axis=2) <= radius
    valid = near & (voxels >= 0).all(axis=2) & (voxels < grid.size).all(axis=2)
    mask[tuple(voxels[valid].T)] = True
    return mask
