"""The post-processing of nnU-Net (version 1): keep the largest piece, of those labels for which it helped in training.

Source: Isensee et al., Nature Methods 18 (2021) 203, doi 10.1038/s41592-020-01008-z, and the file
`postprocessing.json` that the package `nnunet` 1.7 writes.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.errors import ReleaseError

Labels = tuple[int, ...]
"""Labels whose union is treated as one."""


@dataclass(frozen=True)
class LargestPiece:
    """Which labels keep their largest piece only.

    Attributes:
        groups: labels, or sets of labels taken together, in the order in which they are treated; None for every label
            that there is.
        least_mm3: by group, the volume from which a piece stays although it is not the largest; none of another group.
    """

    groups: tuple[Labels, ...] | None
    least_mm3: Mapping[Labels, float] = field(default_factory=dict)

    def apply(self, labels: npt.NDArray[np.uint8], voxel_mm3: float) -> npt.NDArray[np.uint8]:
        """Give a label map without the pieces that go, which become background.

        Pieces touch by faces. Of several largest ones, all stay.

        Args:
            labels: label map.
            voxel_mm3: volume of a voxel.
        """
        result = labels.copy()
        groups = self.groups
        if groups is None:
            groups = tuple((int(label),) for label in np.unique(labels) if label)
        for group in groups:
            pieces, count = ndimage.label(np.isin(result, group))
            if count < 2:
                continue
            volumes = np.bincount(pieces.ravel())[1:] * voxel_mm3
            goes = (volumes != volumes.max()) & (volumes < self.least_mm3.get(group, np.inf))
            result[np.concatenate(([False], goes))[pieces]] = 0
        return result


def read_postprocessing(file: Path) -> LargestPiece:
    """Read `postprocessing.json`.

    Raises:
        ReleaseError: the file is missing, damaged or holds something else.
    """
    if not file.is_file():
        raise ReleaseError("a file of the model is missing", expected=file.name)
    try:
        content = json.loads(file.read_text())
        asked = content["for_which_classes"]
        groups = None if asked is None else tuple(_group(item) for item in asked)
        least = ast.literal_eval(content.get("min_valid_object_sizes", "None"))
        volumes = {_group(item): float(volume) for item, volume in (least or {}).items()}
        if volumes and not set(volumes) >= set(groups or ()):
            raise ValueError("a least volume is missing")
    except (AttributeError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise ReleaseError(
            f"{file.name} cannot be used",
            expected="labels under for_which_classes and volumes under min_valid_object_sizes",
            found=f"{type(error).__name__}: {error}"[:120],
        ) from error
    return LargestPiece(groups, volumes)


def _group(item: Any) -> Labels:  # noqa: ANN401
    """Give one label, or a list of them, as a group.

    Raises:
        ValueError: it is anything but labels above zero.
    """
    group = tuple(item) if isinstance(item, list | tuple) else (item,)
    if not group or not all(type(label) is int and 0 < label < 256 for label in group):
        raise ValueError(f"{item!r:.40} is no label")
    return group
