"""Training cases: an image of an ear in the canonical crop and where every atlas vertex lies in it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import InputError


@dataclass(frozen=True)
class TrainingCase:
    """One ear with known correspondence.

    Attributes:
        image_hu: (n, n, n) int16 CT covering the canonical crop, n its voxels or a divisor of them.
        vertices_ijk: (N, 3) float32 positions of the atlas vertices, structures in the order of the bundle.
        lumen: (n, n, n) uint8 share of each voxel that lies in the labyrinth, 255 for all of it, when what fills it may
            be exchanged; None otherwise.
    """

    image_hu: npt.NDArray[np.int16]
    vertices_ijk: npt.NDArray[np.float32]
    lumen: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class CaseSet:
    """Cases that share one atlas.

    Attributes:
        cases: the cases.
        atlas_vertices_ijk: (N, 3) float32 atlas positions of the same vertices.
        counts: vertices of each structure, in order.
    """

    cases: tuple[TrainingCase, ...]
    atlas_vertices_ijk: npt.NDArray[np.float32]
    counts: Mapping[str, int]

    def save(self, path: Path) -> None:
        """Write all cases into one compressed .npz."""
        np.savez_compressed(
            path,
            images=np.stack([case.image_hu for case in self.cases]),
            vertices=np.stack([case.vertices_ijk for case in self.cases]),
            atlas=self.atlas_vertices_ijk,
            structures=np.array(list(self.counts)),
            counts=np.array(list(self.counts.values())),
        )

    @classmethod
    def load(cls, path: Path) -> CaseSet:
        """Read what `save` wrote.

        Raises:
            InputError: not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                images, vertices = stored["images"], stored["vertices"]
                counts = {str(name): int(n) for name, n in zip(stored["structures"], stored["counts"], strict=True)}
                atlas = stored["atlas"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError("the training cases cannot be read", expected="a file written by this project") from error
        cases = tuple(TrainingCase(image, points) for image, points in zip(images, vertices, strict=True))
        return cls(cases, atlas, counts)
