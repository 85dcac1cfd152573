"""The mean of a group of tori whose mean is known."""

from __future__ import annotations

import numpy as np
import pytest
from surfaces import torus

from model.atlas.groupwise import groupwise_mean, simplify
from model.atlas.surface_fit import FitOptions
from model.meshes.mesh import SurfaceMesh
from model.meshes.topology import count_open_edges, genus

GRID = (44, 44, 32)
CENTRE = np.array([21.5, 21.5, 15.5])
RINGS = {"a": (10.0, 3.0), "b": (12.0, 3.6), "c": (14.0, 4.2)}
QUICK = FitOptions(levels=(4, 6), steps=30, points=800, field_samples=16, stiffness=0.5)


@pytest.fixture(scope="module")
def tori() -> dict[str, SurfaceMesh]:
    """Rings of three sizes, each stretched along one axis so that swapped axes would show."""
    rings = {}
    for name, (major, minor) in RINGS.items():
        ring = torus(major, minor, sides=24, turns=60)
        rings[name] = ring.with_vertices(ring.vertices * [1.1, 0.9, 1.0] + CENTRE)
    return rings


def test_the_mean_keeps_the_hole_and_has_the_mean_size(tori: dict[str, SurfaceMesh]) -> None:
    told: list[tuple[str, float]] = []
    group = groupwise_mean(
        tori,
        "a",
        GRID,
        seed=0,
        triangles=1500,
        rounds=(QUICK, QUICK),
        progress=lambda name, done: told.append((name, done)),
    )
    mean = group.mean_ijk
    assert genus(mean) == 1
    assert count_open_edges(mean.triangles) == 0
    assert mean.signed_volume > 0
    assert len(mean.triangles) <= 1600
    offset = mean.vertices - CENTRE
    assert np.abs(offset.mean(axis=0)).max() < 0.5
    # The mean torus has radii 12 and 3.6, so it reaches 15.6, stretched by 1.1 and 0.9.
    expected = np.array([15.6 * 1.1, 15.6 * 0.9, 3.6])
    np.testing.assert_allclose(np.abs(offset).max(axis=0), expected, rtol=0.06)
    assert sorted(group.fits) == ["a", "b", "c"]
    for name, fit in group.fits.items():
        assert fit.vertices_ijk.shape == mean.vertices.shape
        volume = mean.with_vertices(fit.vertices_ijk).signed_volume
        assert abs(volume / tori[name].signed_volume - 1) < 0.06
    assert [name for name, _ in told] == ["a", "b", "c"] * 2
    assert told[-1][1] == 1.0


def test_simplification_keeps_the_shape(tori: dict[str, SurfaceMesh]) -> None:
    ring = tori["c"]
    small = simplify(ring, 1200)
    assert len(small.triangles) <= 1300
    assert genus(small) == 1
    assert abs(small.signed_volume / ring.signed_volume - 1) < 0.02
    assert simplify(ring, len(ring.triangles)) is ring
