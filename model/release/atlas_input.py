"""What the release has of its atlas image for the network of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from model.errors import ReleaseError
from model.release.activation import check_origin
from model.release.atlas_files import (
    IMAGE_FILE,
    PUBLISHED_MAP_METHOD,
    SPACING_MM,
    activation_file,
    scale_atlas_image,
)
from model.release.image_files import check_spacing, read_release_image, read_release_shape

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class ReleaseAtlasInput:
    """The atlas as a network gets it.

    Attributes:
        kind: `activation` of its first convolution, `image` in [-1, 1], or `withheld`: only activation maps of cases
            are published for the method.
        grid: voxels along i, j, k.
        values: float32 (C, I, J, K) or (I, J, K); None when withheld.
    """

    kind: Literal["image", "activation", "withheld"]
    grid: Grid
    values: npt.NDArray[np.float32] | None


def read_atlas_input(folder: Path, method: str, weights: Mapping[str, Tensor]) -> ReleaseAtlasInput:
    """Read what a registration network gets of the atlas: its own activation map, or else the image.

    The release holds the map of one method and no image. For the other methods nothing is then read but the grid, which
    is that of the published map.

    Args:
        folder: `data/atlas` of the release.
        method: a registration method.
        weights: the network's tensors under the names used here.

    Raises:
        ReleaseError: a file is missing, damaged, or does not fit the weights.
    """
    own = folder / activation_file(method)
    if own.is_file():
        return _activation(own, weights)
    if (folder / IMAGE_FILE).is_file():
        return _image(folder / IMAGE_FILE)
    if method == PUBLISHED_MAP_METHOD:
        raise ReleaseError(
            f"the atlas of the method {method} is missing",
            expected=f"{own.name} or {IMAGE_FILE}",
            hint="name the folder data/atlas of the release",
        )
    return ReleaseAtlasInput("withheld", read_grid(folder), None)


def read_grid(folder: Path) -> Grid:
    """Read the grid of the crops from the headers of the atlas image, or else of an activation map of the atlas.

    Raises:
        ReleaseError: there is neither, or it is damaged.
    """
    files = [folder / IMAGE_FILE, *sorted(folder.glob(activation_file("*")))]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise ReleaseError(
            "the grid of the crops is not known",
            expected=f"{IMAGE_FILE} or {activation_file(PUBLISHED_MAP_METHOD)} in the folder of the atlas",
        )
    i, j, k = read_release_shape(found)[-3:]
    return i, j, k


def _activation(path: Path, weights: Mapping[str, Tensor]) -> ReleaseAtlasInput:
    """Read the activation map, and check that the weights made it."""
    weight, bias = (weights[f"encoders.0.first.conv.{kind}"].numpy() for kind in ("weight", "bias"))
    shape = read_release_shape(path)
    if len(shape) != 4 or shape[0] != len(weight):
        raise ReleaseError(
            f"{path.name} does not fit the weights", expected=f"{len(weight)} channels first", found=f"shape {shape}"
        )
    values = read_release_image(path)
    # The patient's channel was zero when the map was made.
    check_origin(values, weight[:, 1:], bias, path.name)
    return ReleaseAtlasInput("activation", (shape[1], shape[2], shape[3]), values)


def _image(path: Path) -> ReleaseAtlasInput:
    """Read the image, scaled."""
    shape = read_release_shape(path)
    if len(shape) != 3:
        raise ReleaseError(f"{path.name} cannot be used", expected="3 dimensions", found=f"shape {shape}")
    check_spacing(path, SPACING_MM)
    return ReleaseAtlasInput("image", (shape[0], shape[1], shape[2]), scale_atlas_image(read_release_image(path)))
