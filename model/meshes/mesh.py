"""A closed triangle surface that knows the space its vertices are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Space = Literal["ijk", "ras", "lps"]
"""`ijk`: voxel indices of the array at hand; `ras`, `lps`: patient millimetres."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class SurfaceMesh:
    """A triangle surface.

    Attributes:
        vertices: (N, 3) float64 positions in `space` (voxels for `ijk`, millimetres otherwise).
        triangles: (M, 3) int32 vertex indices, counter-clockwise seen from outside.
        space: the space of `vertices`.
        point_data: per-vertex arrays of length N, such as `angle_deg`.
    """

    vertices: FloatArray
    triangles: IntArray
    space: Space
    point_data: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes and settle dtypes."""
        vertices = np.ascontiguousarray(self.vertices, dtype=np.float64)
        triangles = np.ascontiguousarray(self.triangles, dtype=np.int32)
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise ValueError(f"vertices: expected shape (N, 3), found {vertices.shape}")
        if triangles.ndim != 2 or triangles.shape[1] != 3:
            raise ValueError(f"triangles: expected shape (M, 3), found {triangles.shape}")
        if triangles.size and (triangles.min() < 0 or triangles.max() >= len(vertices)):
            raise ValueError("triangles: expected indices of existing vertices")
        for name, values in self.point_data.items():
            if len(values) != len(vertices):
                raise ValueError(f"point data {name}: expected {len(vertices)} values, found {len(values)}")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "triangles", triangles)

    @property
    def signed_volume(self) -> float:
        """Enclosed volume in the cube of the space's unit; negative when the winding points inward.

        Source: divergence theorem, sum of signed tetrahedra.
        """
        a, b, c = (self.vertices[self.triangles[:, corner]] for corner in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)

    def transformed(self, affine: npt.ArrayLike, space: Space) -> SurfaceMesh:
        """Give this surface under a 4x4 affine, in another space, still wound outward.

        Args:
            affine: (4, 4) matrix from this space to `space`.
            space: the space of the result.
        """
        matrix = np.asarray(affine, dtype=np.float64)
        moved = replace(self, vertices=self.vertices @ matrix[:3, :3].T + matrix[:3, 3], space=space)
        return moved.flipped() if np.linalg.det(matrix[:3, :3]) < 0 else moved

    def with_vertices(self, vertices: npt.ArrayLike) -> SurfaceMesh:
        """Give the surface with other vertex positions in the same space."""
        return replace(self, vertices=np.asarray(vertices, dtype=np.float64))

    def flipped(self) -> SurfaceMesh:
        """Give the surface with every triangle wound the other way."""
        return replace(self, triangles=self.triangles[:, ::-1])
