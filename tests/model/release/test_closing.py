"""Surfaces are closed without touching a vertex."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_fixtures import sphere

from model.errors import ReleaseError
from model.meshes.mesh import SurfaceMesh
from model.meshes.topology import count_open_edges
from model.release.closing import close_outward

BALL = sphere((8, 8, 8), 5.0, 2)


def test_a_closed_surface_is_returned_as_it_is() -> None:
    assert close_outward(BALL, "ball") is BALL


def test_inward_winding_is_turned() -> None:
    turned = close_outward(BALL.flipped(), "ball")
    assert turned.signed_volume == pytest.approx(BALL.signed_volume)


def test_mixed_winding_is_made_one() -> None:
    triangles = BALL.triangles.copy()
    triangles[::3] = triangles[::3, ::-1]
    mended = close_outward(SurfaceMesh(BALL.vertices, triangles, "ijk"), "ball")
    assert count_open_edges(mended.triangles) == 0
    assert mended.signed_volume == pytest.approx(BALL.signed_volume)


def test_rims_get_lids_and_vertices_stay() -> None:
    centres = BALL.vertices[BALL.triangles].mean(axis=1)
    cut = BALL.triangles[(centres[:, 2] < 12.0) & (centres[:, 0] > 4.0)]  # two caps are missing
    for triangles in (cut, cut[:, ::-1]):
        mended = close_outward(SurfaceMesh(BALL.vertices, triangles, "ijk"), "ball")
        assert count_open_edges(mended.triangles) == 0
        np.testing.assert_array_equal(mended.vertices, BALL.vertices)
        assert 0.8 < mended.signed_volume / BALL.signed_volume < 1.0


def test_seams_are_joined() -> None:
    # Every triangle on vertices of its own.
    loose = SurfaceMesh(
        BALL.vertices[BALL.triangles].reshape(-1, 3),
        np.arange(BALL.triangles.size, dtype=np.int32).reshape(-1, 3),
        "ijk",
    )
    mended = close_outward(loose, "ball")
    assert count_open_edges(mended.triangles) == 0
    np.testing.assert_array_equal(mended.vertices, loose.vertices)
    assert mended.signed_volume == pytest.approx(BALL.signed_volume)


def test_what_cannot_be_closed_is_named() -> None:
    # Three triangles on one edge enclose nothing.
    vertices = np.array([(0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0), (-1, -1, 0)], dtype=float)
    triangles = np.array([(0, 1, 2), (0, 1, 3), (0, 1, 4)])
    with pytest.raises(ReleaseError, match="modiolus encloses no volume"):
        close_outward(SurfaceMesh(vertices, triangles, "ijk"), "modiolus")
