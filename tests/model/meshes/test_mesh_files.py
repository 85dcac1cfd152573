"""Mesh files, reopened by this project and by independent readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from support import shared_path
from surfaces import sphere
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOGeometry import vtkOBJReader, vtkSTLReader
from vtkmodules.vtkIOLegacy import vtkPolyDataReader
from vtkmodules.vtkIOPLY import vtkPLYReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from model.errors import MeshError, OptionError
from model.meshes.convert import to_space
from model.meshes.formats import MESH_FORMATS, read_mesh, write_mesh
from model.meshes.mesh import Space, SurfaceMesh
from model.meshes.ply_files import decode_ply
from model.meshes.published import decode_published, encode_published
from model.meshes.stl_files import decode_stl

FLOAT32_MM = 1e-5
VTK_READERS: dict[str, Any] = {
    "vtk": vtkPolyDataReader,
    "vtp": vtkXMLPolyDataReader,
    "stl": vtkSTLReader,
    "ply": vtkPLYReader,
    "obj": vtkOBJReader,
}


def example(space: Space = "lps") -> SurfaceMesh:
    """An ear-sized ellipsoid far from the origin, with point data."""
    mesh = sphere(5.0, level=3)
    vertices = mesh.vertices * [1.0, 0.7, 0.4] + [-31.5, 72.25, -48.125]
    return SurfaceMesh(vertices, mesh.triangles, space, {"angle_deg": np.linspace(0, 900, len(vertices)).astype("f4")})


def write(mesh: SurfaceMesh, folder: Path, fmt: str) -> Path:
    path = folder / f"surface.{fmt}"
    write_mesh(mesh, path, title="scala_tympani", colour=(214, 60, 60))
    return path


@pytest.mark.parametrize("fmt", MESH_FORMATS)
@pytest.mark.parametrize("space", ["lps", "ras", "ijk"])
def test_what_is_written_is_read_back(fmt: str, space: Space, tmp_path: Path) -> None:
    mesh = example(space)
    if fmt == "mesh" and space != "ijk":
        with pytest.raises(MeshError, match="voxel"):
            write(mesh, tmp_path, fmt)
        return
    again = read_mesh(write(mesh, tmp_path, fmt))
    assert again.space == space
    assert np.abs(again.vertices[again.triangles] - mesh.vertices[mesh.triangles]).max() < FLOAT32_MM
    assert again.signed_volume == pytest.approx(mesh.signed_volume, rel=1e-5)
    if fmt != "stl":
        assert np.array_equal(again.triangles, mesh.triangles)
    else:
        assert len(again.vertices) == len(mesh.vertices)
    if fmt in ("vtk", "vtp", "ply", "glb"):
        assert np.array_equal(again.point_data["angle_deg"], mesh.point_data["angle_deg"])


@pytest.mark.parametrize("fmt", sorted(VTK_READERS))
def test_vtk_reads_the_same_triangles_in_the_same_millimetres(fmt: str, tmp_path: Path) -> None:
    mesh = example()
    reader = VTK_READERS[fmt]()
    reader.SetFileName(str(write(mesh, tmp_path, fmt)))
    reader.Update()
    polydata = reader.GetOutput()
    points = vtk_to_numpy(polydata.GetPoints().GetData())
    triangles = vtk_to_numpy(polydata.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    assert np.abs(points[triangles] - mesh.vertices[mesh.triangles]).max() < FLOAT32_MM
    if fmt in ("vtk", "vtp"):
        angles = vtk_to_numpy(polydata.GetPointData().GetArray("angle_deg"))
        assert np.array_equal(angles, mesh.point_data["angle_deg"])


@pytest.mark.parametrize("fmt", ["stl", "ply", "obj", "glb"])
def test_trimesh_reads_a_closed_surface_wound_outward(fmt: str, tmp_path: Path) -> None:
    mesh = example()
    loaded = cast("Any", trimesh.load(write(mesh, tmp_path, fmt), force="mesh"))
    points = np.asarray(loaded.vertices)
    if fmt == "glb":  # the scene is in metres, x, z, -y
        points = 1000 * np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)
        assert loaded.volume == pytest.approx(mesh.signed_volume * 1e-9, rel=1e-4)
    else:
        assert loaded.volume == pytest.approx(mesh.signed_volume, rel=1e-4)
    assert loaded.is_watertight
    assert np.allclose(points.min(axis=0), mesh.vertices.min(axis=0), atol=1e-4)
    assert np.allclose(points.max(axis=0), mesh.vertices.max(axis=0), atol=1e-4)


def test_every_tag_stands_where_3d_slicer_looks_for_it(tmp_path: Path) -> None:
    mesh = example()
    lines = write(mesh, tmp_path, "vtk").read_bytes().split(b"\n")
    assert lines[0] == b"# vtk DataFile Version 4.2"
    assert b"SPACE=LPS" in lines[1]
    assert lines[2] == b"BINARY"
    stl = write(mesh, tmp_path, "stl").read_bytes()
    assert b"SPACE=LPS" in stl[:80]
    assert not stl.startswith(b"solid")
    ply = write(mesh, tmp_path, "ply").read_bytes()
    assert b"comment SPACE=LPS\n" in ply[: ply.index(b"end_header")]
    reader = vtkPLYReader()
    reader.SetFileName(str(tmp_path / "surface.ply"))
    reader.Update()
    assert "SPACE=LPS" in [reader.GetComments().GetValue(at) for at in range(reader.GetComments().GetNumberOfValues())]
    obj = vtkOBJReader()
    obj.SetFileName(str(write(mesh, tmp_path, "obj")))
    obj.Update()
    assert "SPACE=LPS" in obj.GetComment()
    vtp = vtkXMLPolyDataReader()
    vtp.SetFileName(str(write(mesh, tmp_path, "vtp")))
    vtp.Update()
    assert vtp.GetOutput().GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"


def test_stl_normals_are_those_of_the_triangles(tmp_path: Path) -> None:
    mesh = example()
    content = write(mesh, tmp_path, "stl").read_bytes()
    records = np.frombuffer(content, dtype=np.dtype([("f", "<f4", 12), ("a", "<u2")]), offset=84)["f"]
    loaded = cast("Any", trimesh.load(tmp_path / "surface.stl", process=False))
    assert np.abs(records[:, :3] - loaded.face_normals).max() < 1e-4


def test_glb_is_conforming_where_it_is_easy_to_go_wrong(tmp_path: Path) -> None:
    content = write(example(), tmp_path, "glb").read_bytes()
    length = int.from_bytes(content[12:16], "little")
    assert int.from_bytes(content[8:12], "little") == len(content)
    assert length % 4 == 0
    document = json.loads(content[20 : 20 + length])
    position = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert np.allclose(position["min"], example().vertices.min(axis=0), atol=1e-4)
    assert document["asset"]["extras"] == {"space": "SPACE=LPS", "unit": "mm"}
    matrix = np.array(document["nodes"][0]["matrix"]).reshape(4, 4).T
    assert np.allclose(matrix @ [0, 0, 1000, 1], [0, 1, 0, 1])  # superior is up, in metres
    assert np.allclose(matrix @ [0, -1000, 0, 1], [0, 0, 1, 1])  # anterior faces the viewer
    assert np.linalg.det(matrix) > 0


@pytest.mark.parametrize("source", ["ras", "lps", "ijk"])
@pytest.mark.parametrize("target", ["ras", "lps", "ijk"])
def test_surfaces_stay_wound_outward_in_every_space(source: Space, target: Space) -> None:
    affine = np.diag([-0.2, 0.3, 0.4, 1.0])  # mirrors
    affine[:3, 3] = [10, 20, 30]
    mesh = example(source)
    moved = to_space(mesh, target, affine)
    assert moved.space == target
    assert moved.signed_volume > 0
    back = to_space(moved, source, affine)
    assert np.abs(back.vertices - mesh.vertices).max() < 1e-9
    assert np.array_equal(back.triangles, mesh.triangles)


def test_the_image_is_needed_between_voxels_and_millimetres() -> None:
    with pytest.raises(MeshError, match="image of the voxel indices"):
        to_space(example("lps"), "ijk")


def test_text_ply_with_other_properties_is_read() -> None:
    text = b"""ply
format ascii 1.0
comment SPACE=RAS
element vertex 4
property double x
property double y
property double z
property uchar red
element face 4
property list uchar uint vertex_index
end_header
0 0 0 9
1 0 0 8
0 1 0 7
0 0 1 6
3 0 2 1
3 0 1 3
3 0 3 2
3 1 2 3
"""
    mesh = decode_ply(text)
    assert mesh.space == "ras"
    assert mesh.signed_volume == pytest.approx(1 / 6)
    assert mesh.point_data["red"].tolist() == [9, 8, 7, 6]


def test_a_ply_file_of_another_program_is_read() -> None:
    path = shared_path("anatomy/scala_tympani_mean.ply")
    mesh = read_mesh(path)
    other = cast("Any", trimesh.load(path, process=False))
    assert np.array_equal(mesh.triangles, other.faces)
    assert np.abs(mesh.vertices - other.vertices).max() == 0


@given(cut=st.integers(0, 400), fmt=st.sampled_from(["stl", "ply", "glb", "mesh", "obj"]))
@settings(max_examples=60, deadline=None)
def test_truncated_files_are_refused_by_name(cut: int, fmt: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / f"surface.{fmt}"
    mesh = sphere(4.0, (10, 10, 10), level=0)
    write_mesh(mesh, path)
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content) - 13)])
    with pytest.raises(MeshError):
        read_mesh(path)


@pytest.mark.parametrize("fmt", ["vtk", "vtp"])
def test_damaged_vtk_files_are_refused(fmt: str, tmp_path: Path) -> None:
    path = tmp_path / f"surface.{fmt}"
    path.write_bytes(b"no surface at all\n")
    with pytest.raises(MeshError):
        read_mesh(path)


def test_unknown_formats_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="vtk, vtp, stl"):
        write_mesh(example(), tmp_path / "surface.wrl")
    with pytest.raises(MeshError, match="not there"):
        read_mesh(tmp_path / "surface.stl")


def test_stl_corners_become_vertices_in_order_of_appearance() -> None:
    mesh = sphere(1.0, level=1)
    from model.meshes.stl_files import encode_stl

    again = decode_stl(encode_stl(mesh, "x"))
    seen = list(dict.fromkeys(mesh.triangles.ravel().tolist()))
    assert np.allclose(again.vertices, mesh.vertices[seen], atol=1e-6)


def test_published_header_with_and_without_grid() -> None:
    mesh = example("ijk")
    short = encode_published(mesh, colour=(1, 2, 3))
    assert np.frombuffer(short[:24], "<i4").tolist() == [0, len(mesh.vertices), len(mesh.triangles), 1, 2, 3]
    long = encode_published(mesh, colour=(1, 2, 3), grid=(5, 6, 7), spacing_mm=(0.25, 0.5, 2.0))
    assert np.frombuffer(long[:40], "<i4").tolist()[3:] == [-1, 0, 0, 0, 5, 6, 7]
    assert np.frombuffer(long[40:52], "<f4").tolist() == [0.25, 0.5, 2.0]
    for content in (short, long):
        again = decode_published(content)
        assert np.abs(again.vertices - mesh.vertices).max() < FLOAT32_MM


@pytest.mark.parametrize("code", ["MD", "ST", "SV", "CC"])
def test_published_meshes_are_read_and_written_byte_for_byte(code: str) -> None:
    content = shared_path(f"release/data/atlas/atlas_{code}.mesh").read_bytes()
    mesh = decode_published(content)
    assert mesh.space == "ijk"
    assert mesh.signed_volume > 0
    red, green, blue = np.frombuffer(content[12:24], "<i4").tolist()
    assert encode_published(mesh, colour=(red, green, blue)) == content
