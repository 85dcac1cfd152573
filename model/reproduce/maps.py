"""The activation maps of a method: where they lie in the release, and whether they can be those of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import OptionError, ReleaseError
from model.reproduce.predictor import MapPredictor

PUBLISHED_METHODS = ("chamfer", "p2p", "dice", "segnet", "nnunet")
"""Names of the folders of maps in the release."""

_SAME_SPACING = 1e-3


def find_maps(folder: Path, predictor: MapPredictor) -> dict[str, Path]:
    """Find the maps of a method by case, in order of names.

    Args:
        folder: `data/activation_maps` with the method's own folder in it, or that folder itself.
        predictor: whose maps.

    Raises:
        ReleaseError: the folder is missing, holds no maps, or two of one case.
        OptionError: it is the folder of another published method.
    """
    method = predictor.method
    if not folder.is_dir():
        raise ReleaseError("the folder of activation maps is missing", expected="an existing folder", found=folder.name)
    own = folder / method
    inner = own if own.is_dir() else folder
    name = inner.resolve().name
    if method in PUBLISHED_METHODS and name in PUBLISHED_METHODS and name != method:
        raise OptionError(
            "these are the maps of another method", expected=f"maps of {method}", found=f"those of {name}"
        )
    maps: dict[str, Path] = {}
    for file in sorted(inner.iterdir()):
        suffix = next((suffix for suffix in predictor.map_suffixes if file.name.endswith(suffix)), None)
        if suffix is None or file.name.startswith(".") or not file.is_file():
            continue
        case = file.name.removesuffix(suffix)
        if case in maps:
            found = f"{maps[case].name} and {file.name}"
            raise ReleaseError("a case has two activation maps", expected="one", found=found)
        maps[case] = file
    if not maps:
        raise ReleaseError(
            "the folder holds no activation maps",
            expected=f"<case>{predictor.map_suffixes[0]}, or a folder {method} of them",
            found=_content(inner),
        )
    return maps


def check_map_shape(shape: tuple[int, ...], channels: int, grid: tuple[int, int, int] | None = None) -> None:
    """Refuse a map by the shape in its header.

    Args:
        shape: of the map.
        channels: what it must have of them.
        grid: voxels of the crop; None takes any.

    Raises:
        ReleaseError: it does not have the channels first, or lies on another grid.
    """
    same_channels = len(shape) == 4 and shape[0] == channels
    if not same_channels or (grid is not None and shape[1:] != grid):
        sizes = ("I", "J", "K") if grid is None else grid
        raise ReleaseError(
            "the map lies on another grid" if same_channels else "the map is of another network",
            expected=" x ".join(map(str, (channels, *sizes))) + ", channels first",
            found=" x ".join(map(str, shape)),
        )


def crop_affine(spacing_mm: float) -> npt.NDArray[np.float64]:
    """Give the (4, 4) ijk -> RAS mm of a crop that lies by itself: axes L, P, S, voxel 0 at the origin."""
    return np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])


def affine_of_masks(map_affine: npt.NDArray[np.float64], spacing_mm: float) -> npt.NDArray[np.float64]:
    """Give the (4, 4) ijk -> RAS mm of a crop from the affine of its map.

    The published maps have none, that is the identity; then the crop lies by itself. An affine with the voxel size of
    the crop was kept from it and is taken.
    """
    sizes = np.linalg.norm(map_affine[:3, :3], axis=0)
    return map_affine if np.allclose(sizes, spacing_mm, atol=_SAME_SPACING) else crop_affine(spacing_mm)


def _content(folder: Path) -> str:
    """Say what a folder holds, shortly."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names:
        return "an empty folder"
    return ", ".join(name[:40] for name in names[:3]) + (", ..." if len(names) > 3 else "")
