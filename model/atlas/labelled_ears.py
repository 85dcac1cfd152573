"""Labelled ears in the canonical frame: the image crop and the surface of the expert label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, label
from skimage.measure import marching_cubes

from model.errors import ImageError, InputError
from model.geometry.alignment import Alignment, align_by_landmarks
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks
from model.meshes.mesh import SurfaceMesh
from model.volumes.read import read_image
from model.volumes.resample import resample_to_canonical
from model.volumes.volume import Volume

LABEL_SMOOTHING_VOXELS = 0.8
"""Width of the Gaussian that rounds the steps of a voxel label; the level is then set to keep its volume."""


@dataclass(frozen=True)
class LabelledEar:
    """One ear with its expert label.

    Attributes:
        name: name of its folder.
        volume: the CT, HU.
        label: boolean [i, j, k] on the CT's grid.
        alignment: where the canonical frame lies.
        image_hu: float32 [grid] CT in the canonical crop, `fill_hu` outside the field of view.
        seen: bool [grid], whether the crop's voxel lies in the field of view.
        surface_ijk: outward surface of the label, crop voxels.
    """

    name: str
    volume: Volume
    label: npt.NDArray[np.bool_]
    alignment: Alignment
    image_hu: npt.NDArray[np.float32]
    seen: npt.NDArray[np.bool_]
    surface_ijk: SurfaceMesh


def read_split(root: Path) -> dict[str, list[str]]:
    """Give the names of training and validation ears of a folder of labelled ears (`split.json`).

    Raises:
        InputError: no readable split there.
    """
    try:
        split = json.loads((root / "split.json").read_text())
        return {part: [str(name) for name in split[part]] for part in ("train", "validation")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "the split of the labelled ears cannot be read", expected="split.json with train and validation"
        ) from error


def read_labelled_ear(folder: Path, frame: CanonicalFrame, *, fill_hu: float) -> LabelledEar:
    """Read `ct.nii.gz`, `labyrinth.nii.gz` and `landmarks.json` of one ear and bring them into the frame.

    Raises:
        InputError: a file is missing or cannot be used.
    """
    try:
        landmarks = Landmarks.parse((folder / "landmarks.json").read_text())
    except OSError as error:
        raise InputError(f"ear {folder.name} has no readable landmarks.json") from error
    volume = read_image(folder / "ct.nii.gz")
    mask = read_image(folder / "labyrinth.nii.gz")
    if mask.shape != volume.shape or not np.allclose(mask.affine, volume.affine, atol=1e-3):
        raise ImageError(f"ear {folder.name}: the label is not on the grid of the image", expected=str(volume.shape))
    alignment = align_by_landmarks(landmarks, None, frame)
    image, seen = resample_to_canonical(volume, alignment, frame, fill_hu)
    inside = mask.data > 0.5
    to_canonical = alignment.ras_to_canonical @ volume.affine
    surface = label_surface(inside).transformed(to_canonical, "ijk")
    return LabelledEar(folder.name, volume, inside, alignment, image, seen, surface)


def read_labelled_ears(root: Path, names: Sequence[str], frame: CanonicalFrame, *, fill_hu: float) -> list[LabelledEar]:
    """Read several ears of a folder; see `read_labelled_ear`."""
    return [read_labelled_ear(root / name, frame, fill_hu=fill_hu) for name in names]


def label_surface(mask: npt.NDArray[np.bool_]) -> SurfaceMesh:
    """Give the smooth, closed, outward surface of the largest piece of a voxel label, in its own ijk.

    The label is smoothed and cut at the level that keeps its volume, so thin canals neither vanish nor swell.

    Raises:
        ImageError: the label is empty.
    """
    pieces, count = label(mask)
    if not count:
        raise ImageError("the label is empty", expected="a labelled structure")
    sizes = np.bincount(pieces.ravel())[1:]
    margin = 4
    piece = np.pad(pieces == np.argmax(sizes) + 1, margin)
    smooth = gaussian_filter(piece.astype(np.float64), LABEL_SMOOTHING_VOXELS)
    level = np.partition(smooth.ravel(), -int(sizes.max()))[-int(sizes.max())]
    vertices, triangles, _, _ = marching_cubes(smooth, float(level))
    surface = SurfaceMesh(vertices=vertices - margin, triangles=triangles, space="ijk")
    return surface if surface.signed_volume > 0 else surface.flipped()
