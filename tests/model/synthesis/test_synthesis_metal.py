"""Electrode arrays lie in the scala; the artifact agrees with physics and with an independent reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.transform
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from model.meshes.mesh import SurfaceMesh
from model.synthesis.designs import DESIGNS, MAKERS, ArrayDesign, draw_design
from model.synthesis.distance import inside
from model.synthesis.electrode import ElectrodeArray, insert_array
from model.synthesis.grid import Float32Array, RenderGrid
from model.synthesis.implant import implant_into, metal_mask
from model.synthesis.metal import MetalParameters, _logarithm, metal_artifact
from model.synthesis.scan import ScanFrame, Slices
from model.synthesis.sections import scala_sections
from model.synthesis.sinogram import Surrounding
from model.synthesis.template import TissueTemplate

QUIET = MetalParameters(150.0, 15.0, 0.0, 0.5, 0.5, 1e12, 1.0, 180)


def lumps(points: list[tuple[float, float, float]], volume_mm3: float) -> ElectrodeArray:
    ijk = np.array(points)
    sizes = np.full(len(points), volume_mm3)
    inside = np.ones(len(points), dtype=bool)
    return ElectrodeArray(DESIGNS[0], ijk, inside, ijk, sizes, np.full(len(points), 0.12), ijk, 0.0, 0.0)


STRAIGHT = ScanFrame(np.eye(3))


def canonical_artifact(
    array: ElectrodeArray, tissue_hu: Float32Array | None = None, parameters: MetalParameters = QUIET
) -> Float32Array:
    """Reconstruct on the canonical grid, slices along k."""
    axis = np.asarray((np.arange(128) - 63.5) * 0.2, dtype=np.float64)
    uv = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    surrounding = None
    if tissue_hu is not None:
        surrounding = Surrounding(tissue_hu, np.asarray(np.linalg.inv(STRAIGHT.from_canonical), dtype=np.float64))
    rng = np.random.default_rng(0)
    return metal_artifact(array, STRAIGHT, Slices(uv, axis), surrounding, parameters, rng).reshape(128, 128, 128)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_contacts_lie_in_the_scala(
    design: ArrayDesign, toy_atlas: dict[str, SurfaceMesh], toy_template: TissueTemplate
) -> None:
    array = insert_array(toy_atlas, np.random.default_rng(2), design)
    distance = toy_template.fields[2]
    inserted = array.contacts_ijk[array.inside]
    assert map_coordinates(distance, inserted.T, order=1).max() < 0.0
    gaps = np.linalg.norm(np.diff(array.contacts_ijk, axis=0), axis=1) * 0.2
    assert gaps.max() <= design.pitch_mm * (1 + design.taper) + 1e-6
    assert gaps.min() > 0.8 * design.pitch_mm * (1 - design.taper)
    assert len(array.contacts_ijk) == design.contacts
    assert 200 < array.insertion_deg < 800
    assert array.inserted_mm <= 1.4 * design.inserted_mm
    # The lead runs on beyond the crop, to the receiver.
    assert array.course_ijk[0].max() > 127


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
    for design in (DESIGNS[1], DESIGNS[2]):
        array = insert_array(toy_atlas, np.random.default_rng(3), design)
        radii[design.placement] = np.linalg.norm(array.contacts_ijk[6:16] - middle, axis=1).mean()
    assert radii["lateral"] > radii["perimodiolar"] + 2.0


def test_a_thin_lump_gives_its_own_attenuation() -> None:
    """Without beam hardening the artifact is the platinum itself: its integral is volume times attenuation."""
    volume = 1e-4
    array = lumps([(80.2, 50.7, 33.0)], volume)
    artifact = canonical_artifact(array)
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
    artifact = canonical_artifact(lumps([(60.0, 60.0, 40.0)], 0.01))
    assert np.abs(artifact[:, :, 36:45]).max() > 3000
    assert not artifact[:, :, :34].any()
    assert not artifact[:, :, 47:].any()


def test_two_dense_lumps_throw_dark_rays_along_their_line() -> None:
    """Where both lie in one ray the detector underestimates them: dark behind, bright beside it, nothing across."""
    array = lumps([(44.0, 64.0, 64.0), (84.0, 64.0, 64.0)], 0.02)
    artifact = canonical_artifact(array)[:, :, 64]
    assert artifact[100:120, 64].max() < -100.0
    assert artifact[8:28, 64].max() < -100.0
    assert artifact[8:20, 60].min() > 20.0
    assert np.abs(artifact[64, 90:120]).max() < 30.0


def test_reconstruction_agrees_with_another_one() -> None:
    """The same projections, averaged to 0.2 mm bins and reconstructed by scikit-image, give the same picture."""
    points, volume = [(50.0, 70.0, 64.0), (75.0, 58.0, 64.0)], 1e-4
    ours = canonical_artifact(lumps(points, volume))[:, :, 64]
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


def test_without_metal_there_is_no_artifact() -> None:
    far = lumps([(60.0, 60.0, 400.0)], 0.01)
    assert not canonical_artifact(far).any()
    assert not canonical_artifact(lumps([(60.0, 60.0, 60.0)], 0.0), np.full((128,) * 3, 1800.0, np.float32)).any()


def test_bone_in_the_ray_takes_photons_and_hardens_the_beam() -> None:
    """Behind bone the beam is harder, so platinum stops another share of it, and fewer photons are left to count."""
    array = lumps([(63.5, 63.5, 64.0)], 1e-4)
    air, bone = np.full((128,) * 3, -1000.0, np.float32), np.full((128,) * 3, 2200.0, np.float32)
    bare = MetalParameters(0.0, 0.0, 0.0, 0.5, 0.5, 1e12, 1.0, 180)
    peaks = [canonical_artifact(array, tissue, bare)[60:68, 60:68, 64].sum() for tissue in (air, bone)]
    # 26 mm of dense bone, by the spectrum alone.
    cortical = np.array([0.666, 0.424, 0.315, 0.260, 0.223, 0.202, 0.186, 0.176]) * 0.192
    platinum = np.array([12.5, 6.95, 4.34, 3.0, 8.7, 6.5, 5.0, 4.0])
    head = np.array([0.09, 0.165, 0.21, 0.165, 0.125, 0.11, 0.085, 0.05]) * np.arange(40, 111, 10)
    behind = head * np.exp(-26.0 * 3.2 / 2.36 * cortical)
    expected = (behind @ platinum / behind.sum()) / (head @ platinum / head.sum())
    assert peaks[1] / peaks[0] == pytest.approx(expected, rel=0.03)
    assert abs(expected - 1.0) > 0.05
    few = MetalParameters(150.0, 15.0, 0.05, 0.5, 0.5, 5e3, 0.8, 180)
    strong = lumps([(50.0, 63.5, 64.0), (76.0, 63.5, 64.0)], 0.005)
    rough = [np.diff(canonical_artifact(strong, tissue, few)[90:126, :, 64], axis=1).std() for tissue in (air, bone)]
    assert rough[1] > 1.5 * rough[0]


def test_the_artifact_follows_the_scanner() -> None:
    """Turned with metal and frame alike, slices hold the same picture."""
    turn = Rotation.from_rotvec([0.4, -0.3, 0.7]).as_matrix()
    straight = lumps([(44.0, 64.0, 63.5), (84.0, 58.0, 66.0)], 0.01)
    turned = lumps([tuple(turn.T @ (point - 63.5) + 63.5) for point in straight.pieces_ijk], 0.01)
    axis = np.asarray((np.arange(64) - 31.5) * 0.4, dtype=np.float64)
    uv = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    slices = Slices(uv, axis)
    pictures = [
        metal_artifact(array, ScanFrame(frame), slices, None, QUIET, np.random.default_rng(0))
        for array, frame in ((straight, np.eye(3)), (turned, turn), (turned, np.eye(3)))
    ]
    np.testing.assert_allclose(pictures[0], pictures[1], atol=0.5)
    assert np.abs(pictures[0] - pictures[2]).max() > 500


def test_every_maker_is_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_design(rng) for _ in range(600)]
    for maker in MAKERS:
        assert 150 < sum(design.maker == maker for design in drawn) < 250
        assert draw_design(rng, maker).maker == maker
    assert {design.name for design in drawn} == {design.name for design in DESIGNS}


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_arrays_have_the_sizes_of_the_data_sheets(design: ArrayDesign) -> None:
    """Contacts, active and inserted length by maker: the ranges that the makers state."""
    channels = {"Cochlear": 22, "MED-EL": 12, "Advanced Bionics": 16}
    active = {"Cochlear": (13.5, 20.0), "MED-EL": (20.5, 27.0), "Advanced Bionics": (14.5, 20.0)}
    assert design.contacts == channels[design.maker]
    low, high = active[design.maker]
    assert low <= design.offsets_mm[-1] - design.offsets_mm[0] <= high
    assert design.offsets_mm[-1] < design.inserted_mm
    assert 0.3 <= 2 * design.tip_radius_mm <= 0.5 < 2 * design.base_radius_mm + 0.01 <= 1.31


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


def test_rays_that_nothing_passes_have_a_logarithm() -> None:
    intensity = np.array([0.5, 0.0, -1e-3, 1e-9], dtype=np.float32)
    counts = np.array([1e5, 1e5, 1e5, 0.0], dtype=np.float32)
    line = _logarithm(intensity, counts, np.random.default_rng(0))
    assert np.isfinite(line).all()
    assert line[0] == pytest.approx(np.log(2), abs=0.1)
    assert (line[1:] > 5).all()
