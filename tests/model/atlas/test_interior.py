"""The interior of a made-up labyrinth of known pose, drawn from the clinical lumen's figures."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import trimesh
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from skimage import measure

from model.atlas.cochlea_pose import CochlearPose, cylindrical, fit_pose, nominal_pose
from model.atlas.cochlea_spiral import CAP, LUMEN
from model.atlas.interior import build_interior, cochlear_angle
from model.errors import MeshError
from model.meshes.mesh import FloatArray, SurfaceMesh

SPACING_MM = 0.2
LANDMARK_NAMES = ("C", "A", "RW")
# Tops of the cap at the angles of CAP, from the same clinical labels; not used by the code under test.
CAP_TOPS = np.array([1.05, 1.4, 2.2, 2.9, 3.3, 3.4])
Interior = dict[str, SurfaceMesh]


def known_pose() -> CochlearPose:
    nominal = nominal_pose(SPACING_MM)
    turn = Rotation.from_rotvec(np.radians([3.0, -2.0, 2.5])).as_matrix()
    origin = nominal.origin_ijk + np.array([0.3, -0.2, 0.25]) / SPACING_MM
    return CochlearPose(origin, nominal.axes @ turn.T, 0.97, SPACING_MM)


def landmarks(pose: CochlearPose) -> dict[str, FloatArray]:
    return dict(zip(LANDMARK_NAMES, pose.to_ijk(np.array([(0, 0, 0.1), (0, 0, 3.2), (6.0, 0.0, -0.1)])), strict=True))


def lumen_mask(local: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which points (u, v, z) lie in the clinical lumen: a tube to 200 degrees, a cap behind it, a vestibule."""
    r, azimuth, z = (
        np.hypot(local[..., 0], local[..., 1]),
        np.degrees(np.arctan2(local[..., 1], local[..., 0])),
        local[..., 2],
    )
    mask = np.zeros(r.shape, dtype=bool)
    for angle in (azimuth, azimuth + 360):
        r_in, r_out, low, high = (np.interp(angle, LUMEN[:, 0], column) for column in LUMEN.T[1:])
        # Towards the round window the tube runs straight on, away from the axis.
        outward = np.clip(LUMEN[0, 0] - angle, 0, 25) * 0.045
        across = np.abs((r - (r_in + r_out) / 2 - outward) / ((r_out - r_in) / 2)) ** 3
        mask |= (angle > -25) & (angle < 200) & (across + np.abs((z - (low + high) / 2) / ((high - low) / 2)) ** 3 < 1)
    for turn in range(3):
        angle = azimuth % 360 + 360 * turn
        inside = (angle > 170) & (angle < 900) & (r < np.interp(angle, CAP[:, 0], CAP[:, 1]))
        # Under the upper turns lies the modiolus; the tube's inner wall is seen there.
        mask |= (
            inside
            & (z > np.interp(angle, [170, 330, 400, 540], [-0.6, -0.3, 0.25, 1.0]))
            & (z < np.interp(angle, CAP[:, 0], CAP_TOPS))
        )
    vestibule = np.linalg.norm(local - np.array([4.9, -2.8, -1.2]), axis=-1) < 2.3
    return np.asarray(mask | vestibule)


def labyrinth(pose: CochlearPose) -> SurfaceMesh:
    corner, size = np.array([18, 16, 20]), 70
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1) + corner
    smooth = gaussian_filter(lumen_mask(pose.to_local(grid.astype(float))).astype(float), 0.8)
    vertices, triangles, _, _ = measure.marching_cubes(smooth, 0.5, step_size=2)
    mesh = SurfaceMesh(vertices + corner, triangles, "ijk")
    return mesh if mesh.signed_volume > 0 else mesh.flipped()


@pytest.fixture(scope="module")
def ear() -> SurfaceMesh:
    return labyrinth(known_pose())


@pytest.fixture(scope="module")
def interior(ear: SurfaceMesh) -> Interior:
    return build_interior(ear, landmarks(known_pose()), SPACING_MM)


def contained(points: FloatArray, mesh: SurfaceMesh) -> npt.NDArray[np.bool_]:
    """Tell which points lie inside, by the winding number (Van Oosterom and Strackee 1983)."""
    winding = np.empty(len(points))
    for index, point in enumerate(points):
        a, b, c = ((mesh.vertices - point)[mesh.triangles[:, corner]] for corner in range(3))
        la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
        top = np.einsum("ij,ij->i", a, np.cross(b, c))
        bottom = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
        winding[index] = np.arctan2(top, bottom).sum() / (2 * np.pi)
    return winding > 0.5


def crossings(mesh: SurfaceMesh) -> int:
    """Count edges that pass through a triangle of the same surface which they do not touch."""
    edges = np.unique(np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    corners = mesh.vertices[mesh.triangles]
    starts, ends = mesh.vertices[edges[:, 0]], mesh.vertices[edges[:, 1]]
    centres = corners.mean(axis=1)
    reach = np.linalg.norm(corners - centres[:, None], axis=2).max() + np.linalg.norm(ends - starts, axis=1).max() / 2
    near = cKDTree((starts + ends) / 2).query_ball_tree(cKDTree(centres), reach)
    edge = np.repeat(np.arange(len(edges)), [len(found) for found in near])
    triangle = np.concatenate([np.array(found, dtype=int) for found in near])
    touching = (mesh.triangles[triangle][:, :, None] == edges[edge][:, None, :]).any(axis=(1, 2))
    edge, triangle = edge[~touching], triangle[~touching]
    origin, direction = starts[edge], (ends - starts)[edge]
    first, second = (corners[triangle, k] - corners[triangle, 0] for k in (1, 2))
    normal = np.cross(first, second)
    along = (direction * normal).sum(1)
    safe = np.where(np.abs(along) < 1e-12, np.inf, along)
    share = ((corners[triangle, 0] - origin) * normal).sum(1) / safe
    offset = origin + share[:, None] * direction - corners[triangle, 0]
    area = (normal**2).sum(1)
    u = (np.cross(offset, second) * normal).sum(1) / area
    v = (np.cross(first, offset) * normal).sum(1) / area
    return int(((share > 0) & (share < 1) & (u > 0) & (v > 0) & (u + v < 1) & np.isfinite(safe)).sum())


def test_pose_is_found_again(ear: SurfaceMesh) -> None:
    true = known_pose()
    found = fit_pose(ear, landmarks(true), SPACING_MM)
    assert np.linalg.norm(found.origin_ijk - true.origin_ijk) * SPACING_MM < 0.3
    assert found.scale == pytest.approx(true.scale, rel=0.04)
    turned = np.degrees(np.arccos(np.clip((np.trace(found.axes @ true.axes.T) - 1) / 2, -1, 1)))
    assert turned < 5
    assert found.residual_mm < 0.2


def test_a_right_ear_is_refused(ear: SurfaceMesh) -> None:
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = 127.0
    with pytest.raises(MeshError):
        build_interior(ear.transformed(mirror, "ijk"), {}, SPACING_MM)


def test_an_inward_surface_and_another_space_are_refused(ear: SurfaceMesh) -> None:
    with pytest.raises(MeshError):
        fit_pose(ear.flipped(), {}, SPACING_MM)
    with pytest.raises(MeshError):
        fit_pose(replace(ear, space="ras"), {}, SPACING_MM)


@pytest.mark.parametrize(
    ("structure", "vertices"),
    [("scala_tympani", (3000, 4600)), ("scala_vestibuli", (3000, 4600)), ("modiolus", (6000, 9000))],
)
def test_surfaces_are_closed_outward_simple_spheres(
    interior: Interior, structure: str, vertices: tuple[int, int]
) -> None:
    mesh = interior[structure]
    directed = Counter(map(tuple, mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist()))
    assert set(directed.values()) == {1}
    assert all((b, a) in directed for a, b in directed)
    assert len(mesh.vertices) - len(directed) // 2 + len(mesh.triangles) == 2
    assert mesh.signed_volume > 0
    assert trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False).body_count == 1
    assert vertices[0] <= len(mesh.vertices) <= vertices[1]
    assert crossings(mesh) == 0


def test_volumes_are_within_the_published_ranges(interior: Interior) -> None:
    volume = {name: mesh.signed_volume * SPACING_MM**3 for name, mesh in interior.items()}
    assert 23 < volume["scala_tympani"] < 50
    assert 18 < volume["scala_vestibuli"] < 42
    assert 7 < volume["modiolus"] < 13


def test_the_scalae_lie_inside_the_labyrinth(interior: Interior, ear: SurfaceMesh) -> None:
    for name in ("scala_tympani", "scala_vestibuli"):
        assert contained(interior[name].vertices[::11], ear).all()


def test_a_labyrinth_without_a_basal_turn_is_refused(ear: SurfaceMesh) -> None:
    pose = known_pose()
    local = pose.to_local(ear.vertices)
    # Press the hook region flat: the scala vestibuli has no way into the vestibule.
    hook = (local[:, 0] > 3.4) & (local[:, 2] > -1.0)
    local[hook, 2] = np.minimum(local[hook, 2], -0.3)
    with pytest.raises(MeshError):
        build_interior(ear.with_vertices(pose.to_ijk(local)), landmarks(pose), SPACING_MM)


def test_no_structure_enters_another(interior: Interior) -> None:
    for name, mesh in interior.items():
        for other in interior:
            if other != name:
                assert not contained(mesh.vertices[::40], interior[other]).any(), (name, other)


def test_the_scalae_meet_at_the_partition(interior: Interior) -> None:
    gap, _ = cKDTree(interior["scala_tympani"].vertices).query(interior["scala_vestibuli"].vertices)
    # About four in ten vertices of the scala vestibuli lie on its floor; spacing of vertices adds to the gap.
    assert np.quantile(gap, 0.3) * SPACING_MM < 0.2


def test_the_scala_tympani_starts_at_the_round_window_and_both_end_at_the_apex(interior: Interior) -> None:
    pose = known_pose()
    tympani = interior["scala_tympani"]
    base = tympani.vertices[tympani.point_data["angle_deg"].argmin()]
    assert np.linalg.norm(base - pose.to_ijk(cylindrical(0.0, 5.3, 0.2))) * SPACING_MM < 0.9
    ends = [mesh.vertices[mesh.point_data["angle_deg"].argmax()] for mesh in (tympani, interior["scala_vestibuli"])]
    assert np.linalg.norm(ends[0] - ends[1]) * SPACING_MM < 0.8
    assert pose.to_local(ends[0])[2] > 2.0


def test_angles_are_azimuths_about_the_axis(interior: Interior, ear: SurfaceMesh) -> None:
    pose = fit_pose(ear, landmarks(known_pose()), SPACING_MM)
    for name in ("scala_tympani", "scala_vestibuli"):
        mesh = interior[name]
        angle = mesh.point_data["angle_deg"]
        assert angle.dtype == np.float32
        u, v, _ = pose.to_local(mesh.vertices).T
        away = np.hypot(u, v) > 0.05
        difference = (angle - np.degrees(np.arctan2(v, u)) + 180) % 360 - 180
        assert np.abs(difference[away]).max() < 0.01
        assert angle.max() == pytest.approx(900, abs=3)
    assert np.isfinite(interior["modiolus"].point_data["angle_deg"]).all()


def test_angle_is_given_on_the_cochlea_alone(ear: SurfaceMesh) -> None:
    pose = known_pose()
    angle = cochlear_angle(ear, landmarks(pose), SPACING_MM)
    assert angle.dtype == np.float32
    u, v, z = pose.to_local(ear.vertices).T
    vestibule = np.linalg.norm(np.stack([u, v, z], -1) - np.array([4.9, -2.8, -1.2]), axis=-1) < 2.4
    azimuth = np.degrees(np.arctan2(v, u))
    basal = (np.hypot(u, v) > 2.8) & (azimuth > 30) & (azimuth < 150)
    assert np.isnan(angle[vestibule & (azimuth < -10)]).all()
    assert np.abs(angle[basal] - azimuth[basal]).max() < 8
    top = (np.hypot(u, v) < 0.8) & (z > 3.0)
    assert top.any()
    assert angle[top].min() > 500


def test_the_interior_needs_no_torch() -> None:
    code = "import sys, model.atlas.interior; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
