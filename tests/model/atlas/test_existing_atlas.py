"""The atlas of a model, found again in ears that are known changes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from bundle_fixtures import LANDMARKS, describe, sphere, sphere_atlas, write_sphere_bundle
from published_case import make_images, make_network

from model.atlas.existing import atlas_of_bundle
from model.atlas.groupwise import fit_group
from model.atlas.labelled_ears import LabelledEar
from model.atlas.surface_fit import FitOptions
from model.bundle import Bundle, load_bundle, write_bundle
from model.bundle.schema import HuWindow
from model.errors import BundleError
from model.structures import LABYRINTH

SHIFTS = {"F01": (0.6, 0.0, -0.4), "T02": (0.0, -0.5, 0.3)}
QUICK = FitOptions(levels=(4, 6), steps=40, points=400, field_samples=16, stiffness=0.5)
WINDOW = HuWindow(low=-1000.0, high=2600.0, fill_hu=-1024.0)


def ear(name: str) -> LabelledEar:
    """Give the parts of an ear that are looked at: the labyrinth of the atlas, shifted, in another triangulation."""
    centre = np.array([3.5, 5.5, 7.5]) + SHIFTS[name]
    volume = cast(Any, SimpleNamespace())
    return LabelledEar(
        name, volume, cast(Any, None), cast(Any, None), cast(Any, None), cast(Any, None), sphere(centre, 3.4, 3)
    )


def window_bundle(folder: Path) -> Bundle:
    """Give a bundle of spheres whose intensities come from a window."""
    write_bundle(
        folder / "spheres",
        describe("spheres").model_copy(update={"intensity": WINDOW}),
        weights={key: tensor.numpy() for key, tensor in make_network().state_dict().items()},
        atlas_meshes_ijk=sphere_atlas(),
        atlas_input=make_images()[1][0, 0].numpy(),
        extra_files={"README.md": b"# Spheres\n"},
    )
    return load_bundle(folder / "spheres")


def test_vertices_follow_the_labyrinth_and_the_atlas_stays(tmp_path: Path) -> None:
    bundle = window_bundle(tmp_path)
    told: list[tuple[str, float]] = []
    ears = [ear(name) for name in SHIFTS]
    found = atlas_of_bundle(
        bundle, ears, bundle.frame, seed=0, options=QUICK, progress=lambda name, done: told.append((name, done))
    )
    for name, mesh in bundle.atlas_meshes_ijk.items():
        assert np.array_equal(found.meshes_ijk[name].vertices, mesh.vertices)
        assert np.array_equal(found.meshes_ijk[name].triangles, mesh.triangles)
    scaled = (found.image_hu + 1000) / 3600 * 2 - 1
    np.testing.assert_allclose(scaled, bundle.atlas_image(), atol=1e-6)
    assert told == [("F01", 0.5), ("T02", 1.0)]
    for name, shift in SHIFTS.items():
        moved = found.ear_vertices_ijk[name] - found.vertices_ijk()
        # A sphere may turn, so single vertices may slide along it; where all of them go on average is known.
        np.testing.assert_allclose(moved[-found.counts()[LABYRINTH.id] :].mean(axis=0), shift, atol=0.1)
        away = found.ear_vertices_ijk[name][-found.counts()[LABYRINTH.id] :] - np.array([3.5, 5.5, 7.5]) - shift
        np.testing.assert_allclose(np.linalg.norm(away, axis=1), 3.4, atol=0.15)
    assert found.modes.shape[:2] == (1, 3)


def test_the_fields_of_a_known_mean_reach_every_member() -> None:
    mean = sphere((3.5, 5.5, 7.5), 3.0, 2)
    members = {"b": sphere((3.8, 5.5, 7.5), 3.0, 3), "a": sphere((3.5, 5.0, 7.5), 3.3, 3)}
    group = fit_group(mean, members, (16, 16, 16), seed=0, options=QUICK)
    assert list(group.fits) == ["a", "b"]
    assert group.mean_ijk is mean
    for name, centre, radius in (("a", (3.5, 5.0, 7.5), 3.3), ("b", (3.8, 5.5, 7.5), 3.0)):
        distance = np.linalg.norm(group.fits[name].vertices_ijk - centre, axis=1)
        np.testing.assert_allclose(distance, radius, atol=0.15)


def test_a_model_without_such_an_atlas_or_of_another_frame_is_refused(tmp_path: Path) -> None:
    as_stored = load_bundle(write_sphere_bundle(tmp_path, "stored"))
    with pytest.raises(BundleError, match="window of HU"):
        atlas_of_bundle(as_stored, [ear("F01")], as_stored.frame, seed=0)
    bundle = window_bundle(tmp_path)
    moved = {**LANDMARKS, "RW": (3.0, 4.0, 5.5)}
    for frame in (replace(bundle.frame, landmarks_ijk=moved), replace(bundle.frame, grid=(32, 32, 32))):
        with pytest.raises(BundleError, match="canonical frame"):
            atlas_of_bundle(bundle, [ear("F01")], frame, seed=0)
