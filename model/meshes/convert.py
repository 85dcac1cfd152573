"""A surface from one space to another, wound outward in each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.errors import MeshError
from model.geometry.spaces import RAS_LPS
from model.meshes.mesh import Space, SurfaceMesh


def to_space(mesh: SurfaceMesh, space: Space, affine: npt.ArrayLike | None = None) -> SurfaceMesh:
    """Give a surface in another space.

    Args:
        mesh: surface in any space.
        space: the space of the result.
        affine: (4, 4) voxel indices -> RAS mm of the image that `ijk` refers to; needed between `ijk` and the others.

    Raises:
        MeshError: when the affine is needed and not given.
    """
    if mesh.space == space:
        return mesh
    if "ijk" in (mesh.space, space) and affine is None:
        raise MeshError(
            f"from {mesh.space} to {space} the image of the voxel indices is needed",
            expected="an image or its affine",
            found="none",
        )
    to_ras = {"ras": np.eye(4), "lps": RAS_LPS, "ijk": np.eye(4) if affine is None else np.asarray(affine, dtype=float)}
    return mesh.transformed(np.linalg.inv(to_ras[space]) @ to_ras[mesh.space], space)
