"""Closing a surface without a new vertex, so that its vertices keep their order and correspondence.

Masks are made of closed surfaces of one winding. A published surface may have seams (vertices that lie in one place),
neighbours wound against each other, or an open rim; triangles are exchanged or added, vertices never.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import trimesh

from model.errors import ReleaseError
from model.meshes.mesh import SurfaceMesh
from model.meshes.topology import count_open_edges

Triangles = npt.NDArray[np.int32]


def close_outward(mesh: SurfaceMesh, name: str) -> SurfaceMesh:
    """Give a surface closed and wound outward, its vertices untouched; one that is so already is returned as it is.

    Args:
        mesh: the surface.
        name: what it is, for the error.

    Raises:
        ReleaseError: it cannot be closed by joining seams, turning triangles and filling rims.
    """
    closed = mesh
    if count_open_edges(mesh.triangles):
        joined = _joined(mesh.vertices, mesh.triangles)
        turned = trimesh.Trimesh(mesh.vertices, joined, process=False)
        trimesh.repair.fix_winding(turned)  # type: ignore[no-untyped-call]
        triangles = np.asarray(turned.faces, dtype=np.int32)
        closed = SurfaceMesh(mesh.vertices, np.concatenate([triangles, _lids(triangles)]), mesh.space, mesh.point_data)
    open_edges = count_open_edges(closed.triangles)
    if open_edges:
        raise ReleaseError(
            f"the surface of {name} encloses no volume",
            expected="a surface that is closed, or can be by filling its rims",
            found=f"{open_edges} edges without a matching neighbour",
        )
    return closed.flipped() if closed.signed_volume < 0 else closed


def _joined(vertices: npt.NDArray[np.float64], triangles: Triangles) -> Triangles:
    """Let triangles name the first of all vertices that lie in one place; those that vanish are left out."""
    _, first, place = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    joined = first[place.ravel()][triangles]
    distinct = (joined != np.roll(joined, 1, axis=1)).all(axis=1)
    return np.asarray(joined[distinct], dtype=np.int32)


def _lids(triangles: Triangles) -> Triangles:
    """Give a fan of triangles over every simple open rim."""
    edges = {(int(a), int(b)) for row in triangles for a, b in zip(row, np.roll(row, -1), strict=True)}
    after = {b: a for a, b in edges if (b, a) not in edges}  # a lid runs along the rim the other way
    lids: list[tuple[int, int, int]] = []
    while after:
        start, at = after.popitem()
        rim = [start]
        while at != start and at in after:
            rim.append(at)
            at = after.pop(at)
        lids += [(rim[0], one, two) for one, two in itertools.pairwise(rim[1:])]
    return np.array(lids, dtype=np.int32).reshape(-1, 3)
