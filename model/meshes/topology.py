"""What can be said of a triangle surface from its connectivity: closed, pieces, genus, vertex normals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.errors import MeshError
from model.meshes.mesh import FloatArray, SurfaceMesh


def count_open_edges(triangles: npt.NDArray[np.int32]) -> int:
    """Count the directed edges that no neighbouring triangle runs through the other way.

    Args:
        triangles: (M, 3) vertex indices.

    Returns:
        Zero for a closed surface with one consistent winding, also when it touches itself along an edge.
    """
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    base = int(edges.max(initial=0)) + 1
    forward = np.sort(edges[:, 0] * base + edges[:, 1])
    backward = np.sort(edges[:, 1] * base + edges[:, 0])
    if np.array_equal(forward, backward):
        return 0
    keys, counts = np.unique(np.concatenate([forward, backward]), return_counts=True)
    _, forward_counts = np.unique(np.concatenate([forward, keys]), return_counts=True)
    surplus = 2 * (forward_counts - 1) - counts
    return int(surplus[surplus > 0].sum())


def require_closed(mesh: SurfaceMesh) -> None:
    """Refuse a surface that does not enclose a volume.

    Raises:
        MeshError: when the mesh has no triangles, holes, or neighbours with opposite winding.
    """
    if len(mesh.triangles) == 0:
        raise MeshError("the surface is empty", expected="at least four triangles", found="none")
    if not np.isfinite(mesh.vertices).all():
        raise MeshError("the surface has vertices that are not finite", expected="finite coordinates")
    open_edges = count_open_edges(mesh.triangles)
    if open_edges:
        raise MeshError(
            "the surface does not enclose a volume",
            expected="a closed surface, every edge shared by two triangles of the same winding",
            found=f"{open_edges} edges without a matching neighbour",
            hint="repair the mesh (fill its holes, weld its vertices, unify its winding) first",
        )


def piece_of_triangles(mesh: SurfaceMesh) -> npt.NDArray[np.int64]:
    """Give (M,) the number of the connected piece that each triangle belongs to, from zero."""
    # SciPy is loaded here so that reading a mesh file does not pay for it.
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows = mesh.triangles[:, [0, 1]].ravel()
    columns = mesh.triangles[:, [1, 2]].ravel()
    size = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return np.unique(labels[mesh.triangles[:, 0]], return_inverse=True)[1].astype(np.int64)


def count_pieces(mesh: SurfaceMesh) -> int:
    """Count the connected pieces among the vertices that triangles use."""
    return int(piece_of_triangles(mesh).max(initial=-1)) + 1


def euler_characteristic(mesh: SurfaceMesh) -> int:
    """Vertices minus edges plus triangles, of the vertices that triangles use."""
    edges = np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return len(np.unique(mesh.triangles)) - len(np.unique(edges, axis=0)) + len(mesh.triangles)


def genus(mesh: SurfaceMesh) -> int:
    """Number of handles of a closed surface, summed over its pieces (Euler: chi = 2 pieces - 2 genus)."""
    return count_pieces(mesh) - euler_characteristic(mesh) // 2


def vertex_normals(mesh: SurfaceMesh) -> FloatArray:
    """Unit normals at the vertices, pointing out of the surface.

    Returns:
        (N, 3) float64: the area-weighted mean of the neighbouring triangle normals; zero where there is none.
    """
    corners = mesh.vertices[mesh.triangles]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    index = mesh.triangles.ravel()
    weights = np.repeat(face_normals, 3, axis=0)
    normals = np.stack([np.bincount(index, weights[:, axis], len(mesh.vertices)) for axis in range(3)], axis=1)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0))
