"""Surfaces of probabilities: closed, outward, where the probability is one half."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.masks.isosurface import isosurface, largest_piece
from model.meshes.topology import count_open_edges, count_pieces

SHAPES = st.tuples(*[st.integers(1, 6)] * 3)
VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.51, 0.75, 1.0])


@settings(max_examples=60, deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=VALUES.map(np.float32))))
def test_surfaces_are_closed_and_enclose_the_voxels_that_are_in(probability: npt.NDArray[np.float32]) -> None:
    surface = isosurface(probability)
    inside = probability > 0.5
    if surface is None:
        assert not inside.any()
        return
    assert count_open_edges(surface.triangles) == 0
    assert surface.signed_volume > 0
    steps = np.diff(np.sort(surface.vertices[surface.triangles], axis=1), axis=1)
    assert np.abs(steps).max() <= 1.0 + 1e-6
    # Vertices lie on edges between a voxel that is in and a neighbour that is not, but for those within a cell.
    on_edge = np.count_nonzero(surface.vertices % 1, axis=1) == 1
    low, high = (limit(surface.vertices[on_edge]).astype(int) + 1 for limit in (np.floor, np.ceil))
    padded = np.pad(inside, 1)
    assert (padded[tuple(low.T)] != padded[tuple(high.T)]).all()
    crossed = sum(np.count_nonzero(np.diff(padded, axis=axis)) for axis in range(3))
    assert np.count_nonzero(on_edge) == crossed


def test_a_ball_has_its_place_and_size_to_a_hundredth_of_a_voxel() -> None:
    centre, radius = np.array([9.3, 11.6, 12.2]), 6.4
    distance = np.linalg.norm(np.moveaxis(np.indices((24, 26, 28)), 0, -1) - centre, axis=-1)
    surface = isosurface(np.clip(0.5 + (radius - distance) / 8, 0, 1).astype(np.float32))
    assert surface is not None
    radii = np.linalg.norm(surface.vertices - centre, axis=1)
    assert np.abs(radii - radius).max() < 0.03
    assert surface.signed_volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)  # facets cut off a little


def test_a_structure_at_the_border_is_closed_there() -> None:
    surface = isosurface(np.ones((3, 4, 5), dtype=np.float32))
    assert surface is not None
    assert count_open_edges(surface.triangles) == 0
    np.testing.assert_allclose([surface.vertices.min(0), surface.vertices.max(0)], [[-0.5] * 3, [2.5, 3.5, 4.5]])


def test_the_largest_piece_stays_and_values_around_it_too() -> None:
    probability = np.full((12, 12, 12), 0.2, dtype=np.float32)
    probability[1:4, 1:4, 1:4] = 0.9
    probability[4, 4, 4] = 0.8  # touches by a corner only
    probability[7:9, 7:9, 7:9] = 1.0
    kept = largest_piece(probability)
    expected = probability.copy()
    expected[4, 4, 4] = expected[7:9, 7:9, 7:9] = 0
    np.testing.assert_array_equal(kept, expected)
    surfaces = [isosurface(values) for values in (probability, kept)]
    assert [count_pieces(surface) for surface in surfaces if surface is not None] == [3, 1]


def test_one_piece_or_none_is_left_alone() -> None:
    for values in (np.zeros((3, 3, 3), np.float32), np.ones((3, 3, 3), np.float32)):
        np.testing.assert_array_equal(largest_piece(values), values)
    assert isosurface(np.full((4, 4, 4), 0.5, np.float32)) is None
