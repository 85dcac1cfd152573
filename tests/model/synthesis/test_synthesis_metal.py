"""Electrode arrays lie in the scala; the artifact agrees with physics and with an independent reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.transform

from model.meshes.mesh import SurfaceMesh
from model.synthesis.distance import inside
from model.synthesis.electrode import DESIGNS, ArrayDesign, ElectrodeArray, insert_array, scala_sections
from model.synthesis.grid import RenderGrid
from model.synthesis.implant import implant_into, metal_mask
from model.synthesis.metal import MetalParameters, metal_artifact
from model.synthesis.template import TissueTemplate

QUIET = MetalParameters(150.0, 15.0, 0.0, 0.5, 0.5, 1e12, 1.0, 180)


def lumps(points: list[tuple[float, float, float]], volume_mm3: float) -> ElectrodeArray:
    ijk = np.array(points)
    sizes = np.full(len(points), volume_mm3)
    return ElectrodeArray(DESIGNS[0], ijk, ijk, sizes, np.full(len(points), 0.12), 0.0)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_contacts_lie_in_the_scala(
    design: ArrayDesign, toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate
) -> None:
    array = insert_array(toy_atlas, np.random.default_rng(2), design)
    distance = toy_template.fields[2]
    apical = np.round(array.contacts_ijk[: len(array.contacts_ijk) // 2]).astype(int)
    assert np.median(distance[tuple(apical.T)]) < 0.0
    assert distance[tuple(apical.T)].max() < 0.2
    gaps = np.linalg.norm(np.diff(array.contacts_ijk, axis=0), axis=1) * 0.2
    assert gaps.max() <= design.pitch_mm + 1e-6
    assert gaps.min() > 0.8 * design.pitch_mm
    assert len(array.contacts_ijk) <= design.contacts
    assert 200 < array.insertion_deg < 700


def test_sections_know_outside_from_inside(toy_atlas: dict[str, SurfaceMesh]) -> None:
    sections = scala_sections(toy_atlas["scala_tympani"], toy_atlas["modiolus"])
    assert (np.diff(sections.angles_deg) > 0).all()
    assert (sections.outer_mm > 0.3).all()
    assert (sections.inner_mm < -0.3).all()
    opposite = np.searchsorted(sections.angles_deg, sections.angles_deg[0] + 180)
    assert sections.outward[0] @ sections.outward[opposite] < -0.9


def test_lateral_arrays_lie_further_out_than_perimodiolar_ones(toy_atlas: dict[str, SurfaceMesh]) -> None:
    middle = toy_atlas["modiolus"].vertices.mean(axis=0)
    radii = {}
    for design in (DESIGNS[0], DESIGNS[2]):
        array = insert_array(toy_atlas, np.random.default_rng(3), design)
        radii[design.placement] = np.linalg.norm(array.contacts_ijk[6:16] - middle, axis=1).mean()
    assert radii["lateral"] > radii["perimodiolar"] + 2.0


def test_a_thin_lump_gives_its_own_attenuation() -> None:
    """Without beam hardening the artifact is the platinum itself: its integral is volume times attenuation."""
    volume = 1e-6
    array = lumps([(80.2, 50.7, 33.0)], volume)
    artifact = metal_artifact(array, QUIET, np.random.default_rng(0), RenderGrid(1))
    peak = np.unravel_index(artifact.argmax(), artifact.shape)
    assert [int(index) for index in peak] == [80, 51, 33]
    energies = np.arange(40.0, 111.0, 10.0)
    photons = np.array([0.09, 0.165, 0.21, 0.165, 0.125, 0.11, 0.085, 0.05])
    water = np.array([0.268, 0.227, 0.206, 0.193, 0.184, 0.177, 0.171, 0.166])
    bone = np.array([0.666, 0.424, 0.315, 0.260, 0.223, 0.202, 0.186, 0.176])
    platinum = np.array([12.5, 6.95, 4.34, 3.0, 8.7, 6.5, 5.0, 4.0]) * 21.45
    weights = photons * energies * np.exp(-15.0 * water - 1.5 * 1.92 * bone)
    weights /= weights.sum()
    expected = 1000.0 * (weights @ platinum) / (weights @ water) * volume
    window = artifact[70:91, 40:61].sum() * 0.008
    assert window == pytest.approx(expected, rel=0.05)


def test_the_artifact_stays_in_axial_planes_that_hold_metal() -> None:
    artifact = metal_artifact(lumps([(60.0, 60.0, 40.0)], 0.01), QUIET, np.random.default_rng(0), RenderGrid(1))
    assert np.abs(artifact[:, :, 36:45]).max() > 3000
    assert not artifact[:, :, :34].any()
    assert not artifact[:, :, 47:].any()


def test_two_dense_lumps_throw_dark_rays_along_their_line() -> None:
    """Where both lie in one ray the detector underestimates them: dark behind, bright beside it, nothing across."""
    array = lumps([(44.0, 64.0, 64.0), (84.0, 64.0, 64.0)], 0.02)
    artifact = metal_artifact(array, QUIET, np.random.default_rng(0), RenderGrid(1))[:, :, 64]
    assert artifact[100:120, 64].max() < -100.0
    assert artifact[8:28, 64].max() < -100.0
    assert artifact[8:20, 60].min() > 20.0
    assert np.abs(artifact[64, 90:120]).max() < 30.0


def test_reconstruction_agrees_with_another_one() -> None:
    """The same projections, averaged to 0.2 mm bins and reconstructed by scikit-image, give the same picture."""
    points, volume = [(50.0, 70.0, 64.0), (75.0, 58.0, 64.0)], 1e-4
    ours = metal_artifact(lumps(points, volume), QUIET, np.random.default_rng(0), RenderGrid(1))[:, :, 64]
    angles = np.arange(180.0)
    bins = (np.arange(256) - 128) * 0.1
    sigma = np.hypot(0.12, 0.5 / 2.355)
    sinogram = np.zeros((256, 180))
    for x, y, _ in points:
        # scikit-image turns about voxel 64 of 128, with its rows (our x) pointing down.
        where = (y - 64.0) * 0.2 * np.cos(np.radians(angles)) - (x - 64.0) * 0.2 * np.sin(np.radians(angles))
        sinogram += np.exp(-0.5 * ((bins[:, None] - where) / sigma) ** 2)
    transforms: Any = skimage.transform
    theirs = transforms.iradon(sinogram, angles, output_size=256, circle=False, filter_name="hann")[::2, ::2]
    middle = (slice(30, 100), slice(30, 100))
    assert np.corrcoef(ours[middle].ravel(), theirs[middle].ravel())[0, 1] > 0.97


def test_a_strong_implant_blooms_and_darkens(toy_atlas: dict[str, SurfaceMesh]) -> None:
    image = np.full((128, 128, 128), 1500.0, dtype=np.float32)
    image[:20] = -1024.0
    result = implant_into(image, toy_atlas, 4)
    assert result.image_hu.max() == 3071.0
    assert result.image_hu.min() >= -1024.0
    np.testing.assert_array_equal(result.image_hu[:20], -1024.0)
    contacts = np.round(result.array.contacts_ijk).astype(int)
    assert result.image_hu[tuple(contacts.T)].mean() > 2800.0
    assert result.metal[tuple(contacts.T)].all()
    assert (result.image_hu[20:] < 1400.0).sum() > 100
    again = implant_into(image, toy_atlas, 4)
    np.testing.assert_array_equal(result.image_hu, again.image_hu)
    coarse = implant_into(image[::2, ::2, ::2], toy_atlas, 4)
    np.testing.assert_allclose(coarse.array.contacts_ijk, result.array.contacts_ijk)


def test_implant_refuses_images_off_the_frame(toy_atlas: dict[str, SurfaceMesh]) -> None:
    for shape in ((128, 128, 64), (100, 100, 100), (128, 128)):
        with pytest.raises(ValueError, match="image_hu"):
            implant_into(np.zeros(shape), toy_atlas, 0)


def test_metal_mask_marks_the_lumps_only() -> None:
    mask = metal_mask(lumps([(10.0, 20.0, 30.0), (-3.0, 5.0, 200.0)], 0.01), RenderGrid(1))
    assert {tuple(voxel) for voxel in np.argwhere(mask)} == {
        (10, 20, 30), (9, 20, 30), (11, 20, 30), (10, 19, 30), (10, 21, 30), (10, 20, 29), (10, 20, 31)
    }  # fmt: skip


def test_the_array_is_partly_in_the_scala_mask(toy_atlas: dict[str, SurfaceMesh]) -> None:
    array = insert_array(toy_atlas, np.random.default_rng(0), DESIGNS[2])
    mask = inside(toy_atlas["scala_tympani"], RenderGrid(1))
    covered = metal_mask(array, RenderGrid(1))
    assert 0.2 < (mask & covered).sum() / covered.sum() <= 1.0
