"""One prepared crop with the points of its structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.geometry.frame import CanonicalFrame
from model.request import CheckedRequest, check_request
from model.training.crops.masks import MaskSource
from model.volumes.intensity import IntensityRule

AS_STORED = IntensityRule("as_stored", -1.0, 1.0, -1.0)

WHOLE = "whole"
"""Key of points of which it is not known what structure they belong to: together they lie on all of them."""


@dataclass(frozen=True)
class CropCase:
    """One case of a folder, checked.

    Attributes:
        name: file name of the image without its suffix.
        image_path: the prepared crop.
        points: (M, 3) float32 crop voxels by structure id, in the order of the atlas, or all under `WHOLE`.
        corresponding: whether the points are those of the atlas, one by one and in its order, for all structures.
        masks: where the masks of the structures are, when the case came with masks.
        digest: SHA-256 of the files of the case.
    """

    name: str
    image_path: Path
    points: Mapping[str, npt.NDArray[np.float32]]
    corresponding: bool
    masks: Mapping[str, MaskSource] = field(default_factory=dict)
    digest: str = ""

    @property
    def structures(self) -> tuple[str, ...]:
        """Structures of which the points are known, or `WHOLE` alone."""
        return tuple(self.points)


def open_crop(path: Path, frame: CanonicalFrame) -> CheckedRequest:
    """Read a prepared crop as the service reads one: its affine says how its axes lie.

    Raises:
        ImageError: no image, or no prepared crop of the frame.
    """
    return check_request(path, landmarks=None, side=None, frame=frame)


def crop_image(request: CheckedRequest, frame: CanonicalFrame) -> npt.NDArray[np.float32]:
    """Give the float32 (I, J, K) image of an opened crop in [-1, 1], axes as in the frame."""
    return request.canonical_image(frame, AS_STORED)[0]


def load_image(case: CropCase, frame: CanonicalFrame) -> npt.NDArray[np.float32]:
    """Read the float32 (I, J, K) image of a case in [-1, 1], axes as in the frame.

    Raises:
        ImageError: the file has changed since the case was checked and cannot be used any more.
    """
    return crop_image(open_crop(case.image_path, frame), frame)
