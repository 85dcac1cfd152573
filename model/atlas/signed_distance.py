"""Signed distance to a closed surface."""

from __future__ import annotations

from typing import Any

import numpy as np
from vtkmodules.util import numpy_support
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

from model.meshes.mesh import FloatArray, IntArray

_arrays: Any = numpy_support  # ships without annotations


class SignedDistance:
    """Exact signed distance to a closed triangle surface: negative inside, in the unit of its vertices."""

    def __init__(self, vertices: FloatArray, triangles: IntArray) -> None:
        """Take a closed surface: (N, 3) vertices and (M, 3) triangles wound outward."""
        points = vtkPoints()
        points.SetData(_arrays.numpy_to_vtk(np.ascontiguousarray(vertices, dtype=np.float64), deep=True))
        cells = vtkCellArray()
        offsets = np.arange(0, 3 * len(triangles) + 1, 3, dtype=np.int64)
        cells.SetData(
            _arrays.numpy_to_vtkIdTypeArray(offsets, deep=True),
            _arrays.numpy_to_vtkIdTypeArray(np.ascontiguousarray(triangles, dtype=np.int64).ravel(), deep=True),
        )
        surface = vtkPolyData()
        surface.SetPoints(points)
        surface.SetPolys(cells)
        self._distance = vtkImplicitPolyDataDistance()
        self._distance.SetInput(surface)

    def __call__(self, points: FloatArray) -> FloatArray:
        """Give the signed distance of points of shape (..., 3), in shape (...)."""
        flat = np.ascontiguousarray(points, dtype=np.float64).reshape(-1, 3)
        values = _arrays.numpy_to_vtk(np.zeros(len(flat)), deep=True)
        self._distance.FunctionValue(_arrays.numpy_to_vtk(flat, deep=True), values)
        return np.asarray(_arrays.vtk_to_numpy(values), dtype=np.float64).reshape(points.shape[:-1]).copy()
