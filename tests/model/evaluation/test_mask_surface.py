"""Surfaces of masks."""

from __future__ import annotations

import numpy as np
import pytest
from segmentations import oblique_volume
from studies import CENTRE_RAS, ellipsoid

from model.evaluation.distances import surface_distance
from model.evaluation.mask_surface import mask_surface
from model.masks.voxelize import voxelize_structures
from model.meshes.topology import count_pieces, require_closed


def test_the_surface_of_a_mask_lies_where_the_mask_was_made_of() -> None:
    volume, true = oblique_volume(), ellipsoid()  # anisotropic, oblique and mirrored
    mask = voxelize_structures({"labyrinth": true}, volume.affine, volume.shape)["labyrinth"]
    surface = mask_surface(mask, volume.affine)
    assert surface is not None
    require_closed(surface)
    assert surface.signed_volume == pytest.approx(true.signed_volume, rel=0.03)
    distance, voxel = surface_distance(surface, true), max(volume.spacing_mm)
    assert distance.mean_mm < 0.2 * voxel
    assert distance.hausdorff95_mm < 0.45 * voxel
    assert np.abs(surface.vertices.mean(axis=0) - CENTRE_RAS).max() < 0.3 * voxel
    lost = mask_surface(mask, np.diag([0.3, 0.25, 0.31, 1.0]))  # orientation and origin lost
    assert lost is not None
    assert surface_distance(lost, true).mean_mm > 5
    swapped = mask_surface(mask.transpose(0, 2, 1), volume.affine)
    assert swapped is not None
    assert surface_distance(swapped, true).hausdorff95_mm > 1


def test_nothing_is_smoothed_away_and_the_border_is_closed() -> None:
    mask = np.zeros((6, 5, 4), dtype=np.uint8)
    mask[0, 0, 0] = 1  # one voxel in the corner
    mask[3:6, 2:5, 1:4] = 7
    surface = mask_surface(mask, np.eye(4))
    assert surface is not None
    require_closed(surface)
    assert count_pieces(surface) == 2
    # One voxel is an octahedron with corners half a voxel away: 4/3 * 0.5 ** 3.
    cube = mask.copy()
    cube[0, 0, 0] = 0
    rest = mask_surface(cube, np.eye(4))
    assert rest is not None
    assert surface.signed_volume - rest.signed_volume == pytest.approx(4 / 3 * 0.125)
    assert surface.vertices.min(axis=0).tolist() == [-0.5, -0.5, -0.5]
    assert mask_surface(np.zeros((3, 3, 3)), np.eye(4)) is None
