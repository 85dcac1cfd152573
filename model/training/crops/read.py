"""Reading a folder of crops: everything is checked first, and everything that is wrong is said at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.bundle.manifest_file import file_digest
from model.errors import InputError
from model.geometry.frame import CanonicalFrame
from model.geometry.spaces import apply_affine
from model.training.crops.atlas import CropAtlas
from model.training.crops.case import WHOLE, CropCase, crop_image, open_crop
from model.training.crops.files import CaseFiles, list_cases
from model.training.crops.masks import MaskSource, label_map_sources, mesh_masks, read_mask_file, read_masks
from model.training.crops.points import read_points
from model.training.crops.problems import Problems
from model.volumes.volume import Volume

FloatArray = npt.NDArray[np.float64]

SIZE_FACTOR = 3.0
"""Points this many times larger or smaller than the atlas are no voxels; millimetres are 5 times smaller."""

SAME_ORDER = 0.5
"""Points in the order of the atlas lie nearer to their partners than this share of the structure's radius, both about
their means; in random order it is 1.4."""

_BORDER = 1.0


def read_crops(images: Path, vertices: Path, atlas: CropAtlas) -> list[CropCase]:
    """Read the cases of a folder of crops and a folder of vertices.

    Args:
        images: folder of prepared crops on the grid of the atlas, `<case>.nii.gz`.
        vertices: folder of `<case>.npz`, `<case>.pkl`, label maps or masks; see `list_cases`.
        atlas: what they will be registered to.

    Returns:
        The cases in alphabetical order.

    Raises:
        InputError: naming every case that cannot be used and why; or there are fewer than two cases.
    """
    problems = Problems()
    cases = []
    listed = list_cases(images, vertices, problems)
    for name, files in listed.items():
        try:
            cases.append(read_case(name, files, atlas))
        except InputError as error:
            problems.add_error(error, name)
    if not problems and len(cases) < 2:
        problems.add("the only case; one is needed to learn from and another to judge by", cases[0].name)
    if problems:
        size = " x ".join(map(str, atlas.frame.grid))
        raise problems.error(
            f"two or more crops of {size} voxels of {atlas.frame.spacing_mm:g} mm with values from -1 to 1, each with "
            "its vertices in voxels"
        )
    return cases


def read_case(name: str, files: CaseFiles, atlas: CropAtlas) -> CropCase:
    """Read and check one case.

    Raises:
        InputError: why it cannot be used.
    """
    request = open_crop(files.image, atlas.frame)
    crop_image(request, atlas.frame)
    masks: dict[str, MaskSource] = {}
    if files.points is not None:
        to_crop = request.alignment.ras_to_canonical @ request.volume.affine
        points = {key: apply_affine(to_crop, found) for key, found in read_points(files.points).items()}
    else:
        masks = mask_sources(files, atlas.frame, request.volume)
        points = {key: mesh.vertices for key, mesh in mesh_masks(read_masks(masks, atlas.frame)).items()}
    unknown = [key for key in points if key != WHOLE and key not in atlas.points]
    if unknown:
        raise InputError("structures that the atlas does not have", found=", ".join(unknown))
    points = _in_order(points, atlas)
    for key, found in points.items():
        _check_place(key, found, atlas)
    return CropCase(
        name=name,
        image_path=files.image,
        points={key: found.astype(np.float32) for key, found in points.items()},
        corresponding=_corresponding(points, atlas),
        masks=masks,
        digest=hashlib.sha256("".join(map(file_digest, files.all)).encode()).hexdigest(),
    )


def mask_sources(files: CaseFiles, frame: CanonicalFrame, image: Volume) -> dict[str, MaskSource]:
    """Give where the masks of a case with masks are, each file checked against the image as it lies in its file.

    Raises:
        ImageError: a mask cannot be used.
    """
    if files.label_map is not None:
        return label_map_sources(files.label_map, read_mask_file(files.label_map, frame, image))
    for path in files.masks.values():
        read_mask_file(path, frame, image)
    return {key: MaskSource(path) for key, path in files.masks.items()}


def _in_order(points: Mapping[str, FloatArray], atlas: CropAtlas) -> dict[str, FloatArray]:
    """Put structures in the order of the atlas; points of all structures that correspond to the atlas are divided."""
    if WHOLE not in points:
        return {key: points[key] for key in atlas.points if key in points}
    whole = points[WHOLE]
    starts = np.cumsum([0, *(len(own) for own in atlas.points.values())])
    if len(whole) == starts[-1]:
        parts = {key: whole[a:b] for key, (a, b) in zip(atlas.points, pairwise(starts), strict=True)}
        if _corresponding(parts, atlas):
            return parts
    return {WHOLE: whole}


def _corresponding(points: Mapping[str, FloatArray], atlas: CropAtlas) -> bool:
    """Whether points are those of the atlas, one by one, for all structures."""
    return list(points) == list(atlas.points) and all(
        len(found) == len(atlas.points[key]) and _same_order(found, atlas.points[key]) for key, found in points.items()
    )


def _same_order(points: FloatArray, others: npt.NDArray[np.float32]) -> bool:
    """Whether points of equal number come in the same order; see `SAME_ORDER`."""
    here, there = points - points.mean(axis=0), others - others.mean(axis=0)
    return bool(np.sqrt(((here - there) ** 2).sum(1).mean()) < SAME_ORDER * _radius(there))


def _check_place(key: str, points: FloatArray, atlas: CropAtlas) -> None:
    """Refuse points that cannot be voxels of the crop.

    Raises:
        InputError: they leave the crop, or are far larger or smaller than the atlas.
    """
    what = "vertices" if key == WHOLE else f"vertices of {key}"
    outside = np.any((points < -_BORDER) | (points > np.array(atlas.frame.grid) - 1 + _BORDER), axis=1)
    if outside.any():
        raise InputError(f"{what} lie outside the crop", found=f"{np.count_nonzero(outside)} of {len(points)}")
    own = np.concatenate(list(atlas.points.values())) if key == WHOLE else atlas.points[key]
    factor = _radius(points) / _radius(own)
    if not 1 / SIZE_FACTOR < factor < SIZE_FACTOR:
        raise InputError(f"{what} are not in voxels of the crop", found=f"{factor:.2g} times the size of the atlas")


def _radius(points: npt.NDArray[np.floating]) -> float:
    """Root mean squared distance from the mean."""
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(1).mean()))
