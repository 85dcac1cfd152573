"""From a surface to its mask and back, where the affine is oblique, mirrored and anisotropic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import rotation, sphere, torus

from model.errors import ImageError
from model.evaluation.distances import surface_distance
from model.masks.surfaces import is_label_map, label_names, labels_of, mask_surface_ras
from model.masks.voxelize import voxelize_structures
from model.meshes.mesh import SurfaceMesh
from model.meshes.topology import genus, require_closed

SPACING = np.array([0.3, 0.25, 0.35])
SHAPE = (36, 44, 32)


def grid_around(seed: int, mirrored: bool) -> npt.NDArray[np.float64]:
    """An oblique affine whose grid has its middle near, not on, RAS (30, -20, 10)."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) @ np.diag(SPACING * ([1, 1, -1] if mirrored else [1, 1, 1]))
    offset = np.random.default_rng(seed).uniform(-0.5, 0.5, 3)
    affine[:3, 3] = np.array([30.0, -20.0, 10.0]) - affine[:3, :3] @ (np.array(SHAPE) / 2 + offset)
    return affine


def shapes() -> dict[str, SurfaceMesh]:
    """A ball and a ring, turned so that no axis of theirs is one of the patient."""
    ring = torus(2.8, 0.9)
    turned = ring.vertices @ rotation(5).T
    return {
        "ball": sphere(3.4, (30.0, -20.0, 10.0), space="ras"),
        "ring": SurfaceMesh(turned + np.array([30.0, -20.0, 10.0]), ring.triangles, "ras"),
    }


@given(seed=st.integers(0, 10_000), mirrored=st.booleans(), smooth=st.sampled_from([0, 10]))
@settings(max_examples=5, deadline=None)
@pytest.mark.parametrize("name", ["ball", "ring"])
def test_a_surface_comes_back_from_its_mask(name: str, seed: int, mirrored: bool, smooth: int) -> None:
    true, affine = shapes()[name], grid_around(seed, mirrored)
    mask = voxelize_structures({"x": true}, affine, SHAPE)["x"]
    back = mask_surface_ras(mask, affine, smooth)
    require_closed(back)
    assert back.space == "ras"
    # Outward, and of its size; unsmoothed, marching cubes cuts off the corners.
    assert back.signed_volume == pytest.approx(true.signed_volume, rel=0.02 if smooth else 0.06)
    assert genus(back) == (1 if name == "ring" else 0)
    distance = surface_distance(back, true)
    assert distance.mean_mm < (0.05 if smooth else 0.07)  # a fifth of a voxel: half a voxel off would show
    assert distance.hausdorff95_mm < 0.16
    again = voxelize_structures({"x": back}, affine, SHAPE)["x"]
    assert np.count_nonzero(again != mask) < 0.06 * np.count_nonzero(mask)


def test_a_slab_through_the_whole_image_is_closed_at_the_border() -> None:
    affine = grid_around(3, mirrored=True)
    inside = np.zeros((9, 8, 7), dtype=np.bool_)
    inside[:, :, 2:5] = True
    surface = mask_surface_ras(inside, affine)
    require_closed(surface)
    volume = np.count_nonzero(inside) * SPACING.prod()
    assert surface.signed_volume == pytest.approx(volume, rel=0.06)
    ijk = surface.transformed(np.linalg.inv(affine), "ijk").vertices
    np.testing.assert_allclose([ijk.min(axis=0), ijk.max(axis=0)], [[-0.5, -0.5, 1.5], [8.5, 7.5, 4.5]], atol=1e-9)


def test_labels_and_their_names() -> None:
    assert labels_of(np.array([0.0, 4.0, 2.0])) == (2, 4)
    assert label_names((2, 4)) == {2: "scala_tympani", 4: "labyrinth"}
    assert label_names((2, 7)) == {2: "label_2", 7: "label_7"}
    assert [is_label_map(labels) for labels in ((1,), (255,), (4,), (1, 2), (7, 9))] == [False, False, True, True, True]
    for values in ([0.0, 0.5], [0.0], [0.0, np.nan]):
        with pytest.raises(ImageError):
            labels_of(np.array(values))
