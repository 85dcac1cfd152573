"""Comparing files: masks with masks, label maps with label maps, surfaces with surfaces."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError

from model.errors import ImageError, InputError
from model.evaluation.distances import point_to_point_mm, surface_distance
from model.evaluation.overlap import dice, volume_mm3
from model.meshes.convert import to_space
from model.meshes.formats import MESH_FORMATS, read_mesh
from model.structures import STRUCTURES

_GRID_TOLERANCE_MM = 1e-3


def is_mesh_file(path: Path) -> bool:
    """Whether a file is a surface, by its suffix."""
    return path.suffix.removeprefix(".").lower() in MESH_FORMATS


def compare_files(result: Path, truth: Path, image: Path | None = None) -> dict[str, dict[str, float]]:
    """Compare a result with the truth, two masks or two surfaces.

    Args:
        result: NIfTI mask, label map or mesh file.
        truth: file of the same kind.
        image: NIfTI image that the voxel indices of mesh files refer to, when they hold such.

    Returns:
        Scores by structure id, or under `surface` or `mask` for single ones: `dice`, `volume_mm3`, `truth_volume_mm3`
        for masks; `mean_mm`, `hausdorff95_mm`, `max_mm` for surfaces, and `point_to_point_mm` (median) when they have
        the same triangles.

    Raises:
        InputError: when the files are of different kinds or cannot be compared.
    """
    if is_mesh_file(result) != is_mesh_file(truth):
        raise InputError("the files cannot be compared", expected="two masks or two surfaces", found="one of each")
    if is_mesh_file(result):
        return {"surface": compare_meshes(result, truth, image)}
    return compare_masks(result, truth)


def compare_meshes(result: Path, truth: Path, image: Path | None = None) -> dict[str, float]:
    """Compare two mesh files in RAS millimetres; see `compare_files`."""
    affine = None if image is None else read_mask(image)[1]
    first, second = (to_space(read_mesh(path), "ras", affine) for path in (result, truth))
    distance = surface_distance(first, second)
    scores = {
        "mean_mm": distance.mean_mm,
        "hausdorff95_mm": distance.hausdorff95_mm,
        "max_mm": distance.max_mm,
        "volume_mm3": first.signed_volume,
        "truth_volume_mm3": second.signed_volume,
    }
    if np.array_equal(first.triangles, second.triangles):
        scores["point_to_point_mm"] = float(np.median(point_to_point_mm(first.vertices, second.vertices)))
    return scores


def compare_masks(result: Path, truth: Path) -> dict[str, dict[str, float]]:
    """Compare two mask or label files on one grid; see `compare_files`.

    Raises:
        ImageError: when the grids differ.
    """
    first, affine = read_mask(result)
    second, truth_affine = read_mask(truth)
    if first.shape != second.shape or not np.allclose(affine, truth_affine, atol=_GRID_TOLERANCE_MM):
        raise ImageError(
            "the masks lie on different grids",
            expected=f"shape {second.shape} and the affine of the truth",
            found=f"shape {first.shape}" + (" and another affine" if first.shape == second.shape else ""),
        )
    values = set(np.unique(first)) | set(np.unique(second))
    if values <= {0, 1} or not values <= {0, 1, 2, 3, 4}:
        return {"mask": _scores(first != 0, second != 0, affine)}
    return {
        structure.id: _scores(first == structure.label, second == structure.label, affine)
        for structure in STRUCTURES
        if structure.label in values
    }


def read_mask(path: Path) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    """Read a 3-D NIfTI mask or label map.

    Returns:
        The array [i, j, k] and the (4, 4) affine to RAS mm.

    Raises:
        ImageError: when the file is not a 3-D NIfTI image.
    """
    try:
        image = nibabel.load(path)
        data = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
    except (OSError, ImageFileError, EOFError, ValueError) as error:
        raise ImageError("the mask cannot be read", expected="a 3-D NIfTI file", found=path.name) from error
    if data.ndim != 3:
        raise ImageError("the mask cannot be used", expected="3 dimensions", found=f"{data.ndim}")
    return data, np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]


def _scores(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64]
) -> dict[str, float]:
    return {
        "dice": dice(first, second),
        "volume_mm3": volume_mm3(first, affine),
        "truth_volume_mm3": volume_mm3(second, affine),
    }
