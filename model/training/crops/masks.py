"""Masks of structures in the grid of a crop, and the surfaces they enclose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.atlas.labelled_ears import label_surface
from model.errors import ImageError
from model.geometry.alignment import align_prepared
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.structures import LABYRINTH, SCALA_TYMPANI, SCALA_VESTIBULI, STRUCTURES
from model.volumes.read import read_image
from model.volumes.resample import resample_to_canonical
from model.volumes.volume import Volume

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MaskSource:
    """Where the mask of a structure is.

    Attributes:
        path: NIfTI file on the grid of the crop.
        labels: values of a label map that belong to the structure; None for a mask of its own, in where above 0.5.
    """

    path: Path
    labels: tuple[int, ...] | None = None

    def inside(self, values: npt.NDArray[np.float32]) -> BoolArray:
        """Tell the structure in the values of the file."""
        return values > 0.5 if self.labels is None else np.isin(values, self.labels)


def label_map_sources(path: Path, values: npt.NDArray[np.float32]) -> dict[str, MaskSource]:
    """Give the structures of a label map with the values of `model.structures`.

    The scalae lie within the labyrinth, which keeps in a label map only what they leave: where the labyrinth has a
    label of its own, the scalae count as parts of it too.

    Raises:
        ImageError: other values than labels, no label, or the label 1 alone: that may be any structure's mask.
    """
    found = {float(value) for value in np.unique(values)} - {0.0}
    known = {float(structure.label): structure for structure in STRUCTURES}
    if not found or found - set(known):
        stated = ", ".join(f"{value:g}" for value in sorted(found)[:6]) or "0 alone"
        raise ImageError("the label map has other values than 0 to 4", found=stated)
    if found == {1.0}:
        raise ImageError(
            "a file with the value 1 alone does not say which structure it is of, name it <case>_<structure>.nii.gz"
        )
    sources = {known[value].id: MaskSource(path, (int(value),)) for value in sorted(found)}
    if LABYRINTH.id in sources:
        parts = tuple(structure.label for structure in (LABYRINTH, SCALA_TYMPANI, SCALA_VESTIBULI))
        sources[LABYRINTH.id] = MaskSource(path, parts)
    return sources


def read_mask_file(path: Path, frame: CanonicalFrame, image: Volume | None = None) -> npt.NDArray[np.float32]:
    """Read a mask or label map with its axes as in the frame.

    Args:
        path: NIfTI file on the grid of the crop.
        frame: the frame of the crop.
        image: the crop as it lies in its file, to check that the mask is on its grid; None leaves the check out.

    Returns:
        (I, J, K) float32 values.

    Raises:
        ImageError: no image, empty or otherwise constant, or on another grid than the crop.
    """
    volume = read_image(path)
    if image is not None and (
        volume.shape != image.shape or not np.allclose(volume.affine, image.affine, atol=1e-3 * frame.spacing_mm)
    ):
        raise ImageError("the mask is not on the grid of the image", found="x".join(map(str, volume.shape)) + " voxels")
    values, _ = resample_to_canonical(volume, align_prepared(volume.affine, None, frame), frame, fill=0.0)
    return values


def read_masks(sources: Mapping[str, MaskSource], frame: CanonicalFrame) -> dict[str, BoolArray]:
    """Read the (I, J, K) masks of structures with their axes as in the frame; a file of several is read once.

    Raises:
        ImageError: a file cannot be used.
    """
    values = {path: read_mask_file(path, frame) for path in {source.path for source in sources.values()}}
    return {name: source.inside(values[source.path]) for name, source in sources.items()}


def mesh_masks(masks: Mapping[str, BoolArray]) -> dict[str, SurfaceMesh]:
    """Give the closed outward surface of the largest piece of every mask, in voxels.

    Raises:
        ImageError: a mask is empty.
    """
    return {name: label_surface(mask) for name, mask in masks.items()}
