"""Surfaces as legacy VTK 4.2 and VTP files, with their point data and the space tag that 3D Slicer looks for.

Legacy files are written as version 4.2, because the default of current VTK (5.1) cannot be read by most other programs,
and in binary. 3D Slicer takes the space from the title of a legacy file and from the field data array `SPACE` of a VTP.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.errors import MeshError
from model.meshes.mesh import SurfaceMesh
from model.meshes.space_tag import SPACE_ARRAY, space_from_text, space_tag

_LEGACY_VERSION = 42


def write_legacy_vtk(mesh: SurfaceMesh, path: Path, title: str) -> None:
    """Write a binary legacy VTK 4.2 file: float32 points, triangles, point data.

    Args:
        mesh: surface in any space.
        path: file to write.
        title: one line for people; the space tag is added.
    """
    # VTK is loaded only where a VTK file is handled.
    from vtkmodules.vtkIOLegacy import vtkPolyDataWriter

    writer = vtkPolyDataWriter()
    writer.SetFileVersion(_LEGACY_VERSION)
    writer.SetFileTypeToBinary()
    writer.SetHeader(f"{title} {space_tag(mesh.space)}"[:255])
    _write(writer, _to_polydata(mesh), path)


def write_vtp(mesh: SurfaceMesh, path: Path) -> None:
    """Write a compressed VTP file: float32 points, triangles, point data, field data `SPACE`."""
    from vtkmodules.vtkCommonCore import vtkStringArray
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    polydata = _to_polydata(mesh)
    tag = vtkStringArray()
    tag.SetName(SPACE_ARRAY)
    tag.InsertNextValue(mesh.space.upper())
    polydata.GetFieldData().AddArray(tag)
    _write(vtkXMLPolyDataWriter(), polydata, path)


def read_legacy_vtk(path: Path) -> SurfaceMesh:
    """Read a legacy VTK file of triangles; without a tag its space is LPS.

    Raises:
        MeshError: when the file holds no surface of triangles.
    """
    from vtkmodules.vtkIOLegacy import vtkPolyDataReader

    reader = vtkPolyDataReader()
    reader.ReadAllScalarsOn()
    reader.ReadAllFieldsOn()
    polydata = _read(reader, path)
    return _from_polydata(polydata, reader.GetHeader() or "")


def read_vtp(path: Path) -> SurfaceMesh:
    """Read a VTP file of triangles; without a tag its space is LPS.

    Raises:
        MeshError: when the file holds no surface of triangles.
    """
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    polydata = _read(vtkXMLPolyDataReader(), path)
    tag = polydata.GetFieldData().GetAbstractArray(SPACE_ARRAY)
    return _from_polydata(polydata, f"SPACE={tag.GetValue(0)}" if tag is not None else "")


def _to_polydata(mesh: SurfaceMesh) -> Any:  # noqa: ANN401 - VTK ships without usable types
    """Give the surface as vtkPolyData."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    points = vtkPoints()
    points.SetData(numpy_to_vtk(mesh.vertices.astype(np.float32), deep=True))
    cells = vtkCellArray()
    offsets = np.arange(0, 3 * len(mesh.triangles) + 1, 3, dtype=np.int64)
    connectivity = mesh.triangles.ravel().astype(np.int64)
    cells.SetData(numpy_to_vtkIdTypeArray(offsets, deep=True), numpy_to_vtkIdTypeArray(connectivity, deep=True))
    polydata = vtkPolyData()
    polydata.SetPoints(points)
    polydata.SetPolys(cells)
    for name, values in mesh.point_data.items():
        array = numpy_to_vtk(np.ascontiguousarray(values, dtype=np.float32), deep=True)
        array.SetName(name)
        polydata.GetPointData().AddArray(array)
    return polydata


def _from_polydata(polydata: Any, header: str) -> SurfaceMesh:  # noqa: ANN401 - VTK ships without usable types
    """Give vtkPolyData as a surface."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    if polydata.GetNumberOfPoints() == 0 or polydata.GetNumberOfPolys() == 0:
        raise MeshError("the VTK file holds no surface", expected="points and triangles", found="none")
    offsets = vtk_to_numpy(polydata.GetPolys().GetOffsetsArray())
    if not np.all(np.diff(offsets) == 3):
        raise MeshError("the VTK file holds other polygons", expected="triangles", hint="triangulate the surface")
    triangles = vtk_to_numpy(polydata.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    data = polydata.GetPointData()
    arrays = (data.GetArray(index) for index in range(data.GetNumberOfArrays()))
    point_data = {
        array.GetName(): vtk_to_numpy(array).astype(np.float32)
        for array in arrays
        if array is not None and array.GetName() and array.GetNumberOfComponents() == 1
    }
    vertices = vtk_to_numpy(polydata.GetPoints().GetData())
    return SurfaceMesh(vertices, triangles, space_from_text(header), point_data)


def _write(writer: Any, polydata: Any, path: Path) -> None:  # noqa: ANN401 - VTK ships without usable types
    """Run a VTK writer, or say that it failed."""
    writer.SetFileName(str(path))
    writer.SetInputData(polydata)
    if not writer.Write() or writer.GetErrorCode():
        raise OSError(f"VTK could not write the mesh (error code {writer.GetErrorCode()})")


def _read(reader: Any, path: Path) -> Any:  # noqa: ANN401 - VTK ships without usable types
    """Run a VTK reader and collect its complaints into one error."""
    complaints: list[str] = []
    reader.AddObserver("ErrorEvent", lambda *_: complaints.append("VTK cannot parse it"))
    reader.SetFileName(str(path))
    reader.Update()
    if complaints or reader.GetErrorCode() or reader.GetOutput() is None:
        raise MeshError("the VTK file is damaged", expected="a VTK surface", found="a file that VTK cannot parse")
    return reader.GetOutput()
