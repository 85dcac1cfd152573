"""A real ear changed at random: image, surfaces and landmarks move together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.synthesis.anatomy import Anatomy
from model.synthesis.ear import EarOptions, SyntheticEar, synthesize_ear
from model.synthesis.grid import RenderGrid
from model.synthesis.real_ear import Background, change_real_ear
from model.synthesis.template import TissueTemplate

PLAIN = EarOptions(implant_share=0.0, with_ddf=False)


@pytest.fixture(scope="module")
def background(
    toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate, toy_frame: CanonicalFrame
) -> Background:
    """A made ear that stands for a real one, its lowest slices unseen."""
    options = EarOptions(implant_share=0.0, full_field_share=1.0, drained_share=0.0, with_ddf=False)
    ear = synthesize_ear(toy_atlas, 2, options, toy_template)
    seen = np.ones(ear.image_hu.shape, dtype=bool)
    seen[:, :, :25] = False
    image = np.where(seen, ear.image_hu, np.float32(-1024))
    meshes = {name: mesh.with_vertices(ear.vertices_ijk[name]) for name, mesh in toy_atlas.items()}
    return Background("real", image, seen, meshes, toy_frame.landmarks_ijk)


@pytest.fixture(scope="module")
def changed(background: Background) -> SyntheticEar:
    return change_real_ear(background, 5, PLAIN)


def test_image_and_truth_move_together(background: Background, changed: SyntheticEar) -> None:
    points = np.random.default_rng(0).uniform(38, 90, (4000, 3))
    moved = changed.deformation.displace(points)
    assert np.linalg.norm(moved - points, axis=1).mean() > 1.0
    before = map_coordinates(background.image_hu, points.T, order=1)
    after = map_coordinates(changed.image_hu, moved.T, order=1)
    here = np.corrcoef(before, after)[0, 1]
    assert here > 0.95
    for axis in range(3):
        off = moved + 2.0 * np.eye(3)[axis]
        assert np.corrcoef(before, map_coordinates(changed.image_hu, off.T, order=1))[0, 1] < here - 0.05
    for name, mesh in background.meshes_ijk.items():
        np.testing.assert_allclose(changed.vertices_ijk[name], changed.deformation.displace(mesh.vertices))


def test_contrast_changes_about_air_and_is_recorded(background: Background, changed: SyntheticEar) -> None:
    points = np.random.default_rng(1).uniform(38, 90, (4000, 3))
    before = map_coordinates(background.image_hu, points.T, order=1)
    after = map_coordinates(changed.image_hu, changed.deformation.displace(points).T, order=1)
    slope = float(np.median((after[before > 1200] + 1000) / (before[before > 1200] + 1000)))
    assert changed.parameters["contrast"] == pytest.approx(slope, abs=0.02)
    assert changed.parameters["background"] == "real"


def test_what_was_not_seen_stays_unseen(background: Background, changed: SyntheticEar) -> None:
    assert (changed.image_hu[~changed.seen] == -1024).all()
    voxels = np.argwhere(changed.seen)[::997]
    source = np.moveaxis(changed.deformation.to_atlas(RenderGrid(1)), 0, -1)[tuple(voxels.T)]
    assert source[:, 2].min() >= 24.9
    assert source.min() >= -0.1
    assert source.max() <= 127.1
    assert 0.4 < changed.seen.mean() < background.seen.mean()


def test_a_seed_decides_and_an_implant_leaves_the_anatomy(background: Background, changed: SyntheticEar) -> None:
    again, other = change_real_ear(background, 5, PLAIN), change_real_ear(background, 6, PLAIN)
    np.testing.assert_array_equal(again.image_hu, changed.image_hu)
    assert np.abs(other.image_hu - changed.image_hu).mean() > 30
    implanted = change_real_ear(background, 5, EarOptions(implant_share=1.0, with_ddf=False))
    np.testing.assert_array_equal(implanted.vertices_ijk["labyrinth"], changed.vertices_ijk["labyrinth"])
    contacts = np.round(implanted.contacts_ijk).astype(int)
    inner = contacts[(contacts > 2).all(axis=1) & (contacts < 125).all(axis=1)]
    assert implanted.image_hu[tuple(inner.T)].mean() > 2500 > changed.image_hu[tuple(inner.T)].mean() + 500
    assert implanted.metal.any()
    assert not changed.metal.any()


def test_ears_are_made_of_any_background(
    background: Background, toy_atlas: dict[str, SurfaceMesh], toy_frame: CanonicalFrame
) -> None:
    moved = {name: (i + 1.0, j, k) for name, (i, j, k) in toy_frame.landmarks_ijk.items()}
    other = Background("other", background.image_hu, background.seen, background.meshes_ijk, moved)
    anatomy = Anatomy(toy_atlas, toy_frame, backgrounds=(background, other))
    made = [anatomy.make(seed, 0.0) for seed in range(4)]
    names = [ear.parameters["background"] for ear, _ in made]
    assert set(names) == {"real", "other"}
    assert all(
        (frame.landmarks_ijk == moved) == (name == "other") for name, (_, frame) in zip(names, made, strict=True)
    )
