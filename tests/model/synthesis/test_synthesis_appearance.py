"""Synthetic ears look like real ones, in numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from support import shared_path

from model.atlas.labelled_ears import read_labelled_ears
from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle
from model.masks.voxelize import voxelize
from model.synthesis.appearance import appearance
from model.synthesis.ear import EarOptions, synthesize_ear
from model.synthesis.scanner import HU_MIN
from model.synthesis.template import build_template

GRID = (128, 128, 128)


def test_numbers_of_a_made_up_image() -> None:
    """A ball of fluid in bone: its values, the slope of its blurred wall and the noise put in come back."""
    rng = np.random.default_rng(0)
    distance = np.linalg.norm(np.indices(GRID) - 63.5, axis=0) * 0.2 - 5.0
    noise = gaussian_filter(rng.standard_normal(GRID), 0.6)
    image = gaussian_filter(np.where(distance < 0, 100.0, 1900.0), 1.0) + 80.0 * noise / noise.std()
    looks = appearance(image, distance < 0, np.ones(GRID, dtype=bool))
    assert looks["lumen_p50"] == pytest.approx(100.0, abs=15.0)
    assert looks["petrous_p50"] == pytest.approx(1900.0, abs=15.0)
    assert (looks["capsule_bone"], looks["capsule_air"]) == (1.0, 0.0)
    # An error function of width 0.2 mm rises by 1800 / (sqrt(2 pi) 0.2 mm) at its middle, less half a voxel off.
    assert 2400 < looks["edge_hu_per_mm"] < 3700
    assert 50.0 < looks["noise_hu"] < 80.0
    louder = appearance(image + 80.0 * noise / noise.std(), distance < 0, np.ones(GRID, dtype=bool))
    assert louder["noise_hu"] == pytest.approx(2 * looks["noise_hu"], rel=0.05)


def test_synthetic_ears_span_real_ones() -> None:
    """What is measured on real training ears lies within what synthetic ears show, give or take."""
    root = shared_path("ears")
    model = load_bundle(find_bundle(DEFAULT_BUNDLE))
    atlas = model.atlas_meshes_ijk
    template = build_template(atlas)
    real = [
        appearance(ear.image_hu, voxelize(ear.surface_ijk, GRID), ear.seen)
        for ear in read_labelled_ears(root, ["T01", "F03"], model.frame, fill_hu=HU_MIN)
    ]
    made = []
    for seed in range(6):
        ear = synthesize_ear(atlas, seed, EarOptions(implant_share=0.0, with_ddf=False), template)
        labyrinth = atlas["labyrinth"].with_vertices(ear.vertices_ijk["labyrinth"])
        made.append(appearance(ear.image_hu, voxelize(labyrinth, GRID), ear.seen))
    slack = {"capsule_p50": 150.0, "capsule_p90": 150.0, "lumen_p50": 150.0, "noise_hu": 30.0, "around_air": 0.1}
    slack |= {"around_bone": 0.1, "noise_next": 0.1, "edge_hu_per_mm": 500.0}
    for name, room in slack.items():
        values = [looks[name] for looks in made]
        for looks in real:
            assert min(values) - room <= looks[name] <= max(values) + room, name
