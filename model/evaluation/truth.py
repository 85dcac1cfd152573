"""The truth of one case: surfaces, masks, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from model.evaluation.mask_surface import mask_surface
from model.masks.voxelize import voxelize_structures
from model.meshes.mesh import FloatArray, SurfaceMesh
from model.structures import STRUCTURE_IDS

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CaseTruth:
    """What a case really is. Make one per case: what is worked out of it is kept for the next method.

    Attributes:
        meshes_ras: true surfaces in RAS mm, by structure id.
        masks: true masks [i, j, k] on the grid below, by structure id.
        affine: (4, 4) voxel indices -> RAS mm of the grid on which Dice is counted; None: Dice stays unknown.
        shape: voxels of that grid; None takes that of the masks.
        active: (N,) bool by structure id, the vertices that count point to point; all of them where it is missing.
    """

    meshes_ras: Mapping[str, SurfaceMesh] = field(default_factory=dict)
    masks: Mapping[str, BoolArray] = field(default_factory=dict)
    affine: FloatArray | None = None
    shape: tuple[int, int, int] | None = None
    active: Mapping[str, BoolArray] = field(default_factory=dict)
    _masks: dict[str, BoolArray] = field(default_factory=dict, init=False, repr=False, compare=False)
    _surfaces: dict[str, SurfaceMesh | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that everything fits together."""
        unknown = (set(self.meshes_ras) | set(self.masks) | set(self.active)) - set(STRUCTURE_IDS)
        if unknown:
            raise ValueError(f"truth: expected structures of {', '.join(STRUCTURE_IDS)}, found {sorted(unknown)}")
        for name, mesh in self.meshes_ras.items():
            if mesh.space != "ras":
                raise ValueError(f"truth of {name}: expected a surface in ras, found {mesh.space}")
        for name, counts in self.active.items():
            if name in self.meshes_ras and len(counts) != len(self.meshes_ras[name].vertices):
                raise ValueError(f"active vertices of {name}: expected one value per vertex, found {len(counts)}")
        shapes = {mask.shape for mask in self.masks.values()} | ({self.shape} if self.shape is not None else set())
        if len(shapes) > 1:
            raise ValueError(f"truth: expected masks of one shape, found {sorted(shapes)}")
        if self.masks and self.affine is None:
            raise ValueError("truth: expected the affine of the masks, found none")
        if self.shape is None and shapes:
            object.__setattr__(self, "shape", shapes.pop())

    @property
    def structures(self) -> tuple[str, ...]:
        """Ids of the structures with a truth, in the usual order."""
        return tuple(name for name in STRUCTURE_IDS if name in self.meshes_ras or name in self.masks)

    def mask(self, structure: str) -> BoolArray | None:
        """Give the true mask: the given one, or the true surface voxelized; None without a grid.

        Raises:
            MeshError: when the surface is not closed.
        """
        if structure in self.masks:
            return self.masks[structure]
        if structure not in self._masks:
            voxelized = self.voxelized({structure: self.meshes_ras[structure]})
            if voxelized is None:
                return None
            self._masks.update(voxelized)
        return self._masks[structure]

    def surface(self, structure: str) -> SurfaceMesh | None:
        """Give the true surface in RAS mm: the given one, or that of the mask (see `mask_surface`); None if empty."""
        if structure in self.meshes_ras:
            return self.meshes_ras[structure]
        if structure not in self._surfaces:
            assert self.affine is not None  # noqa: S101 - masks come with an affine
            self._surfaces[structure] = mask_surface(self.masks[structure], self.affine)
        return self._surfaces[structure]

    def voxelized(self, meshes_ras: Mapping[str, SurfaceMesh]) -> dict[str, BoolArray] | None:
        """Give the masks of surfaces on the grid of this case, or None when it has none.

        Raises:
            MeshError: when a surface is not closed.
        """
        if self.affine is None or self.shape is None:
            return None
        return voxelize_structures(meshes_ras, self.affine, self.shape)
