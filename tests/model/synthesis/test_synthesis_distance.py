"""Signed distances against shapes whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from model.meshes.mesh import SurfaceMesh
from model.synthesis.distance import inside, signed_distance_mm
from model.synthesis.grid import RenderGrid

CENTRE = np.array([40.3, 71.6, 90.1])


def ball(radius: float) -> SurfaceMesh:
    sphere = trimesh.creation.icosphere(4, radius)
    return SurfaceMesh(sphere.vertices + CENTRE, sphere.faces, "ijk")


@pytest.mark.parametrize("factor", [1, 2])
def test_distance_to_a_ball(factor: int) -> None:
    grid = RenderGrid(factor)
    distance = signed_distance_mm(ball(12.0), grid)
    truth = (np.linalg.norm(grid.points() - CENTRE.reshape(3, 1, 1, 1), axis=0) - 12.0) * 0.2
    near = np.abs(truth) < 0.4
    assert np.abs(distance - truth)[near].max() < 0.02
    assert np.abs(distance - truth).max() < 0.25
    assert (np.sign(distance) == np.sign(truth))[np.abs(truth) > 0.02].all()


def test_inside_of_a_box_that_ends_on_grid_lines() -> None:
    box = trimesh.creation.box((10.0, 6.0, 4.0))
    mesh = SurfaceMesh(box.vertices + np.array([20.5, 30.5, 40.5]), box.faces, "ijk")
    mask = inside(mesh, RenderGrid(1))
    expected = np.zeros((128, 128, 128), dtype=bool)
    expected[16:26, 28:34, 39:43] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_surface_without_inside_is_refused() -> None:
    with pytest.raises(ValueError, match="closed surface"):
        signed_distance_mm(ball(0.1), RenderGrid(4))
