"""The atlas that a folder of crops is registered to, from wherever it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from model.atlas.build import ATLAS_FILE, Atlas
from model.bundle import find_bundle, load_bundle
from model.bundle.layout import MANIFEST_FILE
from model.errors import InputError, UnknownBundleError
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.release.atlas_files import (
    IMAGE_FILE,
    SPACING_MM,
    VERTICES_FILE,
    read_release_meshes,
    scale_atlas_image,
)
from model.release.image_files import read_release_image
from model.training.trained import WINDOW
from model.volumes.intensity import IntensityRule

FRAME_FILE = "frame.json"
"""File beside a folder's atlas that says its spacing and landmarks; without it the spacing is the published one."""


@dataclass(frozen=True)
class CropAtlas:
    """An atlas as crops are registered to it.

    Attributes:
        name: what it was asked for by.
        image: (I, J, K) float32 in [-1, 1].
        meshes_ijk: closed outward surfaces by structure id, crop voxels.
        frame: the canonical frame; without landmarks when they are not known.
        intensity: how raw CT becomes network input; `as_stored` when that is not known.
    """

    name: str
    image: npt.NDArray[np.float32]
    meshes_ijk: Mapping[str, SurfaceMesh]
    frame: CanonicalFrame
    intensity: IntensityRule

    @cached_property
    def points(self) -> dict[str, npt.NDArray[np.float32]]:
        """(N, 3) vertices by structure id, crop voxels."""
        return {name: mesh.vertices.astype(np.float32) for name, mesh in self.meshes_ijk.items()}


def read_crop_atlas(name: str) -> CropAtlas:
    """Read an atlas.

    Args:
        name: a bundle by name or path, a folder that `cochlear atlas` wrote, or `data/atlas` of the published release
            with its image.

    Raises:
        InputError: there is no atlas of that name, or it cannot be used.
    """
    folder = Path(name)
    if folder.is_dir() and not (folder / MANIFEST_FILE).is_file():
        if (folder / ATLAS_FILE).is_file():
            return _from_build(name, folder)
        if (folder / VERTICES_FILE).is_file():
            return _from_release(name, folder)
    try:
        path = find_bundle(name)
    except UnknownBundleError as error:
        raise InputError(
            "the atlas is not known",
            expected=f"a folder with {ATLAS_FILE} or {VERTICES_FILE}, a case that has masks, or a bundle: "
            f"{error.expected}",
            found=ascii(name[:80]),
        ) from error
    bundle = load_bundle(path)
    return check_atlas(CropAtlas(name, bundle.atlas_image(), bundle.atlas_meshes_ijk, bundle.frame, bundle.intensity))


def _from_build(name: str, folder: Path) -> CropAtlas:
    """Take an atlas of labelled ears, its image in HU."""
    atlas = Atlas.load(folder)
    rule = IntensityRule.from_json(WINDOW.model_dump())
    frame = _frame(folder, atlas.image_hu.shape)
    return check_atlas(CropAtlas(name, rule.apply(atlas.image_hu), atlas.meshes_ijk, frame, rule))


def _from_release(name: str, folder: Path) -> CropAtlas:
    """Take an atlas of the published layout; its image is scaled as published."""
    image = scale_atlas_image(read_release_image(folder / IMAGE_FILE))
    rule = IntensityRule.from_json({"rule": "as_stored"})
    frame = _frame(folder, image.shape)
    return check_atlas(CropAtlas(name, image, read_release_meshes(folder), frame, rule))


def _frame(folder: Path, shape: tuple[int, ...]) -> CanonicalFrame:
    """Read the frame beside an atlas, or take the published spacing and no landmarks."""
    if len(shape) != 3:
        raise InputError("the image of the atlas cannot be used", expected="3 dimensions", found=str(shape))
    path = folder / FRAME_FILE
    if not path.is_file():
        return CanonicalFrame((shape[0], shape[1], shape[2]), SPACING_MM, "LPS", "left", MappingProxyType({}))
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{FRAME_FILE} beside the atlas cannot be read", expected="a JSON object") from error
    if not isinstance(document, dict):
        raise InputError(f"{FRAME_FILE} beside the atlas cannot be read", expected="a JSON object")
    return CanonicalFrame.from_json(document)


def check_atlas(atlas: CropAtlas) -> CropAtlas:
    """Give an atlas back whose parts fit each other.

    Raises:
        InputError: the image is not on the grid of the frame, or a surface leaves it.
    """
    if atlas.image.shape != atlas.frame.grid:
        expected, found = (" x ".join(map(str, size)) for size in (atlas.frame.grid, atlas.image.shape))
        raise InputError("the image of the atlas is not on the grid of its frame", expected=expected, found=found)
    for name, points in atlas.points.items():
        if points.min() < -1 or (points > np.array(atlas.frame.grid)).any():
            raise InputError(f"the surface of {name} leaves the crop of the atlas")
    return atlas
