"""Outlines and shaded views."""

from __future__ import annotations

import numpy as np
import pytest
from surfaces import box, sphere

from model.outputs.contours import plane_segments
from model.outputs.shading import Canvas, View


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_outline_of_a_sphere_is_a_circle(axis: int) -> None:
    centre = np.array([10.0, 12.0, 14.0])
    segments = plane_segments(sphere(5.0, centre, level=5), axis, centre[axis] + 3.0)
    others = [other for other in range(3) if other != axis]
    radii = np.linalg.norm(segments - centre[others], axis=-1)
    assert np.abs(radii - 4.0).max() < 0.02
    assert np.linalg.norm(segments[:, 0] - segments[:, 1], axis=1).sum() == pytest.approx(8 * np.pi, rel=0.01)


def test_a_plane_beside_the_surface_cuts_nothing() -> None:
    assert plane_segments(sphere(5.0), 0, 6.0).shape == (0, 2, 2)


def test_a_view_shows_right_up_and_the_nearer_surface() -> None:
    points = np.array([[-10.0, -10, -10], [10, 10, 10]])
    view = View.towards((0, 0, 1), (0, 1, 0), points, 200, 200, 0.0)
    assert np.allclose(view.project(np.array([[10.0, 10.0, 3.0]])), [[199.5, 199.5, 30.0]])
    canvas = Canvas(view, (0, 0, 0))
    canvas.draw_solid(box((2, 2, 5), (6, 6, 7)), (255, 0, 0))
    canvas.draw_solid(box((0, 0, -5), (8, 8, -2)), (0, 0, 255))
    red, _, blue = np.moveaxis(canvas.pixels().astype(int), -1, 0)
    assert red[200 - 140, 140] > blue[200 - 140, 140] + 50  # the nearer box, upper right of the middle
    assert blue[200 - 110, 110] > red[200 - 110, 110] + 50  # the farther one beside it
    assert canvas.pixels()[150, 50].max() == 0


def test_glass_lets_through_what_lies_behind_it() -> None:
    view = View.towards((0, 0, 1), (0, 1, 0), np.array([[-6.0, -6, -6], [6, 6, 6]]), 100, 100, 0.0)
    canvas = Canvas(view, (0, 0, 0))
    canvas.draw_solid(sphere(2.0), (255, 0, 0))
    before = canvas.pixels()[50, 50].astype(int)
    canvas.draw_glass(sphere(5.0), (0, 255, 0))
    after = canvas.pixels().astype(int)
    assert after[50, 50, 0] > 0.7 * before[0]
    assert after[50, 50, 1] > before[1]
    assert after[50, 85, 1] > 0
    assert after[2, 2].max() == 0


def test_vertices_have_colours_of_their_own() -> None:
    view = View.towards((0, 0, 1), (0, 1, 0), np.array([[-6.0, -6, -6], [6, 6, 6]]), 100, 100, 0.0)
    ball = sphere(5.0)
    right = ball.vertices[:, :1] > 0
    canvas = Canvas(view, (0, 0, 0))
    canvas.draw_solid(ball, np.where(right, [[0, 0, 255]], [[255, 0, 0]]).astype(np.uint8))
    left_pixel, right_pixel = canvas.pixels().astype(int)[50, [30, 70]]
    assert left_pixel[0] > left_pixel[2] + 50
    assert right_pixel[2] > right_pixel[0] + 50
