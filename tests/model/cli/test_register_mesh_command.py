"""`cochlear register-mesh`: files, spaces, folders and refusals around the registration itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import Cochlear
from labyrinths import labyrinth
from surfaces import sphere

from model.evaluation.distances import point_to_point_mm
from model.meshes.formats import read_mesh, write_mesh
from model.meshes.mesh import SurfaceMesh
from model.meshes.published import encode_published


def egg(level: int, shift_mm: float = 0.0) -> SurfaceMesh:
    """A lopsided closed surface about 8 mm wide, RAS mm, away from the origin; other levels are other triangles."""
    ball = sphere(1.0, level=level, space="ras")
    x, y, z = ball.vertices.T
    radius = 3 + 0.9 * x + 0.7 * y * z + 0.6 * x**2 * y
    numbers = np.arange(len(x), dtype=np.float32)
    moved = ball.vertices * radius[:, None] * [1.4, 1.0, 0.7] + [20.0 + shift_mm, -30.0, 10.0]
    return SurfaceMesh(moved, ball.triangles, "ras", {"number": numbers})


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    path = tmp_path / "atlas.vtk"
    write_mesh(egg(3), path)
    return path


def test_the_atlas_comes_back_in_the_space_of_the_patient(cochlear: Cochlear, tmp_path: Path, atlas: Path) -> None:
    true, patient = egg(3, 4.0), tmp_path / "patient.stl"
    there = egg(4, 4.0)
    write_mesh(there.transformed(np.diag([-1, -1, 1, 1]), "lps"), patient)
    ran = cochlear("register-mesh", atlas, patient, "--json", "--report", tmp_path / "report.json")
    assert ran.code == 0, ran.err
    result = read_mesh(tmp_path / "patient_atlas.vtk")
    assert result.space == "lps"
    assert np.array_equal(result.triangles, egg(3).triangles)
    assert np.array_equal(result.point_data["number"], egg(3).point_data["number"])
    assert np.median(point_to_point_mm(result.vertices * [-1, -1, 1], true.vertices)) < 0.1
    report = json.loads(ran.out)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["atlas_to_patient"]["mean_mm"] < 0.05
    assert report["patient_to_atlas"]["mean_mm"] < 0.05
    assert (report["flipped_triangles"], report["triangles"]) == (0, len(result.triangles))
    assert report["iterations"] > 10


def test_voxel_surfaces_of_a_folder_on_a_stated_grid(cochlear: Cochlear, tmp_path: Path) -> None:
    """Atlas and patients as published: voxels of a crop, whose axes are L, P, S."""
    to_voxels = np.diag([-5.0, -5.0, 5.0, 1.0])
    to_voxels[:3, 3] = [180, -90, 20]
    folder = tmp_path / "patients"
    folder.mkdir()
    for name, mesh in (("atlas", egg(3)), ("patients/one", egg(4, 0.4))):
        content = encode_published(mesh.transformed(to_voxels, "ijk"), colour=(1, 2, 3))
        (tmp_path / f"{name}.mesh").write_bytes(content)
    (folder / "bad.mesh").write_bytes(b"nothing")
    command = ("register-mesh", tmp_path / "atlas.mesh", folder, "--out", tmp_path / "out")
    ran = cochlear(*command, "--grid", "128", "--spacing", "0.2", "--no-rigid")
    assert ran.code == 1
    assert "bad.mesh" in ran.err
    assert "one.mesh: atlas to patient" in ran.out
    result = read_mesh(tmp_path / "out" / "one.vtk")
    assert result.space == "ijk"
    expected = egg(3, 0.4).transformed(to_voxels, "ijk").vertices
    assert np.median(point_to_point_mm(result.vertices, expected)) < 0.5  # voxels, of 2 at first
    assert not (tmp_path / "out" / "bad.vtk").exists()
    # Without a grid the unit of the vertices is not known.
    refusal = cochlear.refuses("register-mesh", tmp_path / "atlas.mesh", folder / "one.mesh")
    assert "voxel indices" in refusal


def test_what_cannot_be_is_refused(cochlear: Cochlear, tmp_path: Path, atlas: Path) -> None:
    patient = tmp_path / "patient.vtk"
    write_mesh(egg(2), patient)
    assert "order of vertices" in cochlear.refuses("register-mesh", atlas, patient, "--out", tmp_path / "x.stl")
    assert "no such structure" in cochlear.refuses("register-mesh", "cochlea-ct-v2", patient, "--structure", "stapes")
    assert "folder" in cochlear.refuses("register-mesh", atlas, tmp_path)
    other = labyrinth(2000).transformed(np.diag([1, 1, -1, 1]), "ras")
    write_mesh(other, tmp_path / "other.vtk")
    assert "--mirror" in cochlear.refuses("register-mesh", "cochlea-ct-v2", tmp_path / "other.vtk")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["atlas.vtk", "other.vtk", "patient.vtk"]
