"""Tissue and scanner: the truth is visible in the image, and the scanner does what its parameters say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from model.meshes.mesh import SurfaceMesh
from model.synthesis.deformation import random_deformation
from model.synthesis.distance import inside, signed_distance_mm
from model.synthesis.grid import RenderGrid
from model.synthesis.scanner import (
    HU_MAX,
    HU_MIN,
    ScannerParameters,
    blur,
    correlated_noise,
    field_of_view,
    finish,
    random_scanner,
)
from model.synthesis.template import TissueTemplate, build_template
from model.synthesis.tissue import random_tissue, render_tissue

PLAIN = ScannerParameters((0.5, 0.5, 0.5), 0.0, 0.3, 100.0, 0.4, (0.0, 0.0, 0.0), None, (63.5, 63.5, 63.5))


def test_the_labyrinth_lies_where_the_deformed_mesh_is(
    toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate
) -> None:
    grid = RenderGrid(2)
    rng = np.random.default_rng(11)
    deformation = random_deformation(rng)
    tissue = replace(random_tissue(rng), fluid=100.0, drained=False, septa=1000.0, modiolus=900.0)
    image = render_tissue(toy_template, deformation, tissue, rng, grid)
    scala = toy_atlas["scala_tympani"].with_vertices(deformation.displace(toy_atlas["scala_tympani"].vertices))
    labyrinth = toy_atlas["labyrinth"].with_vertices(deformation.displace(toy_atlas["labyrinth"].vertices))
    core = signed_distance_mm(scala, grid) < -0.3
    assert core.sum() > 100
    np.testing.assert_allclose(np.median(image[core]), 100.0, atol=5.0)
    distance = signed_distance_mm(labyrinth, grid)
    assert np.median(image[(distance > 0.25) & (distance < 0.5)]) > 1000.0
    # Bone starts at the surface: moved by half a millimetre along any axis the fit is worse.
    inner = (distance < -0.2) & (distance > -0.5)
    here = image[inner].mean()
    for axis in range(3):
        for step in (-2, 2):
            assert np.roll(image, step, axis=axis)[inner].mean() > here


def test_coarse_rendering_is_the_average_of_fine(toy_template: TissueTemplate) -> None:
    images = []
    for factor in (1, 2):
        rng = np.random.default_rng(5)
        deformation = random_deformation(rng)
        tissue = render_tissue(toy_template, deformation, random_tissue(rng), rng, RenderGrid(factor))
        images.append(blur(tissue, PLAIN, RenderGrid(factor)))
    averaged = images[0].reshape(64, 2, 64, 2, 64, 2).mean(axis=(1, 3, 5))
    difference = averaged - images[1]
    assert abs(difference.mean()) < 15.0
    assert np.median(np.abs(difference)) < 15.0
    assert np.corrcoef(averaged.ravel(), images[1].ravel())[0, 1] > 0.985


def test_drained_and_filled_ears_both_occur() -> None:
    drawn = [random_tissue(np.random.default_rng(seed)) for seed in range(200)]
    drained = [tissue for tissue in drawn if tissue.drained]
    assert 40 < len(drained) < 120
    assert all(-1000 <= tissue.fluid <= -600 for tissue in drained)
    assert all(0 <= tissue.fluid <= 260 for tissue in drawn if not tissue.drained)
    assert all(1450 < tissue.bone < 2150 for tissue in drawn)


def test_blur_has_the_stated_width() -> None:
    point = np.zeros((64, 64, 64), dtype=np.float32)
    point[32, 30, 28] = 1e6
    spread = blur(point, replace(PLAIN, fwhm_mm=(0.6, 0.6, 1.2)), RenderGrid(1))
    index = np.arange(64)
    for axis, (centre, fwhm) in enumerate(((32, 0.6), (30, 0.6), (28, 1.2))):
        profile = spread.sum(axis=tuple(other for other in range(3) if other != axis))
        mean = (profile * index).sum() / profile.sum()
        sigma = np.sqrt((profile * (index - mean) ** 2).sum() / profile.sum() + 1 / 12) * 0.2
        assert mean == pytest.approx(centre, abs=1e-3)
        assert sigma * 2.355 == pytest.approx(fwhm, rel=0.05)


def test_noise_has_the_stated_strength_and_grain() -> None:
    noise = correlated_noise(np.random.default_rng(0), PLAIN, RenderGrid(1))
    assert noise.std() == pytest.approx(100.0, rel=1e-3)
    averaged = noise.reshape(64, 2, 64, 2, 64, 2).mean(axis=(1, 3, 5))
    coarse = correlated_noise(np.random.default_rng(0), PLAIN, RenderGrid(2))
    assert coarse.std() == pytest.approx(averaged.std(), rel=0.08)
    neighbour = np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]
    far = np.corrcoef(noise[:-12].ravel(), noise[12:].ravel())[0, 1]
    assert neighbour > 0.2
    assert abs(far) < 0.05


def test_noise_and_blur_follow_the_slices() -> None:
    """With thick slices, both reach further along the scanner's axis, wherever that points."""
    thick = replace(PLAIN, fwhm_mm=(0.3, 0.3, 0.75), slice_mm=0.6, noise_fwhm_mm=0.3)
    for rotation, axis in (((0.0, 0.0, 0.0), 2), ((np.pi / 2, 0.0, 0.0), 1), ((0.0, np.pi / 2, 0.0), 0)):
        scanner = replace(thick, rotation=rotation)
        noise = correlated_noise(np.random.default_rng(0), scanner, RenderGrid(1))
        point = np.zeros((64, 64, 64), dtype=np.float32)
        point[32, 32, 32] = 1.0
        spread = blur(point, scanner, RenderGrid(2))
        kinship, width = [], []
        for other in range(3):
            moved = np.moveaxis(noise, other, 0)
            kinship.append(np.corrcoef(moved[:-2].ravel(), moved[2:].ravel())[0, 1])
            profile = spread.sum(axis=tuple({0, 1, 2} - {other}))
            width.append(profile @ (np.arange(64) - 32) ** 2)
        assert np.argmax(kinship) == np.argmax(width) == axis
        assert kinship[axis] > 0.5 > max(kinship[other] for other in range(3) if other != axis)


def test_field_of_view_is_the_stated_box() -> None:
    box = replace(PLAIN, field_mm=(10.0, 16.0, 20.0), field_centre_ijk=(50.0, 63.5, 70.0))
    mask = field_of_view(box, RenderGrid(1))
    occupied = np.argwhere(mask)
    np.testing.assert_array_equal(occupied.min(axis=0), [25, 24, 20])
    np.testing.assert_array_equal(occupied.max(axis=0), [75, 103, 120])
    turned = replace(box, rotation=(0.3, -0.2, 0.5))
    assert field_of_view(turned, RenderGrid(1)).sum() == pytest.approx(mask.sum(), rel=0.1)
    image = finish(np.full((128, 128, 128), 9000.0, dtype=np.float32), box, RenderGrid(1))
    assert set(np.unique(image)) == {HU_MIN, HU_MAX}
    np.testing.assert_array_equal(image == HU_MAX, mask)


def test_random_acquisitions_stay_clinical() -> None:
    for seed in range(100):
        scanner = random_scanner(np.random.default_rng(seed))
        assert all(0.22 <= width <= 0.75 for width in scanner.fwhm_mm)
        assert 0.15 <= scanner.slice_mm <= 0.6
        assert scanner.fwhm_mm[2] >= scanner.slice_mm
        assert 40 <= scanner.noise_hu <= 220


def test_template_distances_and_septa(toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate) -> None:
    within = inside(toy_atlas["scala_tympani"], RenderGrid(1))
    np.testing.assert_array_equal(toy_template.fields[2] < 0, within)
    septa = toy_template.fields[4]
    upper = toy_atlas["scala_tympani"].vertices[toy_atlas["scala_tympani"].point_data["angle_deg"] > 300]
    lower = toy_atlas["scala_tympani"].vertices[toy_atlas["scala_tympani"].point_data["angle_deg"] < 60]
    assert septa[tuple(np.round(upper).astype(int).T)].mean() > 0.8
    assert septa[tuple(np.round(lower).astype(int).T)].mean() < 0.2
    vestibule = binary_erosion(toy_template.fields[0] < -0.8)
    assert vestibule.any()


def test_an_atlas_without_angles_is_refused(toy_atlas: dict[str, SurfaceMesh]) -> None:
    bare = {**toy_atlas, "scala_tympani": replace(toy_atlas["scala_tympani"], point_data={})}
    with pytest.raises(ValueError, match="angle_deg"):
        build_template(bare)
    with pytest.raises(ValueError, match="missing modiolus"):
        build_template({name: mesh for name, mesh in toy_atlas.items() if name != "modiolus"})
