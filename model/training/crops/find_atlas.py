"""Finding the atlas by what the user calls it: also one of the cases may serve."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import nibabel
import numpy as np

from model.errors import InputError
from model.geometry.frame import CanonicalFrame
from model.release.atlas_files import scale_atlas_image
from model.structures import STRUCTURE_IDS
from model.training.crops.atlas import CropAtlas, check_atlas, read_crop_atlas
from model.training.crops.case import AS_STORED, crop_image, open_crop
from model.training.crops.files import CaseFiles, list_cases
from model.training.crops.masks import mesh_masks, read_masks
from model.training.crops.problems import Problems
from model.training.crops.read import mask_sources
from model.volumes.read import read_image


def find_atlas(name: str, images: Path, vertices: Path) -> CropAtlas:
    """Give the atlas of a run.

    Args:
        name: a folder with an atlas, a case of the folders, or a bundle; see `read_crop_atlas`.
        images: folder of crops.
        vertices: folder of their vertices.

    Raises:
        InputError: there is no such atlas, or it cannot be used.
    """
    if not Path(name).is_dir() and images.is_dir() and vertices.is_dir():
        files = list_cases(images, vertices, Problems()).get(name)
        if files is not None:
            return atlas_from_case(name, files)
    return read_crop_atlas(name)


def atlas_from_case(name: str, files: CaseFiles) -> CropAtlas:
    """Take a case as the atlas: the surfaces of its masks, and its image scaled to [-1, 1] as published.

    Raises:
        InputError: the case has points only, which enclose nothing, or it cannot be used.
    """
    if files.points is not None:
        raise InputError(
            f"the case {name} cannot be the atlas",
            expected="masks, whose surfaces are known",
            found="points without triangles",
            hint="give masks of this case, or another atlas",
        )
    frame = _frame_of(files.image)
    request = open_crop(files.image, frame)
    masks = read_masks(mask_sources(files, frame, request.volume), frame)
    meshes = mesh_masks({structure: masks[structure] for structure in STRUCTURE_IDS if structure in masks})
    image = scale_atlas_image(crop_image(request, frame))
    return check_atlas(CropAtlas(name, image, meshes, frame, AS_STORED))


def _frame_of(path: Path) -> CanonicalFrame:
    """Give the frame that a crop would lie in: its own grid in the order L, P, S, and its spacing.

    Raises:
        InputError: no image, or its voxels are no cubes.
    """
    volume = read_image(path)
    if not np.allclose(volume.spacing_mm, np.mean(volume.spacing_mm), rtol=0.01):
        found = " x ".join(f"{size:.3g}" for size in volume.spacing_mm)
        raise InputError("the voxels of the atlas are no cubes", expected="one spacing along all axes", found=found)
    grid = [0, 0, 0]
    for axis, (place, _) in enumerate(nibabel.io_orientation(volume.affine)):
        grid[int(place)] = volume.shape[axis]
    spacing_mm = round(float(np.mean(volume.spacing_mm)), 6)
    return CanonicalFrame((grid[0], grid[1], grid[2]), spacing_mm, "LPS", "left", MappingProxyType({}))
