"""The mean cochlea's sections and tubes, against figures the code does not use."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from support import shared_path

from model.atlas.cochlea_pose import CochlearPose, cylindrical, nominal_pose
from model.atlas.cochlea_spiral import LAST_ANGLE_DEG, PARTITION_MM, sections_at, tympani_depth_profile
from model.atlas.cochlea_walls import CochlearWalls, mean_walls
from model.atlas.scalae import scala_mesh, scala_tympani, scala_vestibuli
from model.atlas.signed_distance import SignedDistance
from model.meshes.mesh import FloatArray


def unit_pose() -> CochlearPose:
    return CochlearPose(np.zeros(3), nominal_pose(0.2).axes, 1.0, 1.0)


def polygon_area_and_centroid(polygon: FloatArray) -> tuple[float, FloatArray]:
    following = np.roll(polygon, -1, axis=0)
    cross = polygon[:, 0] * following[:, 1] - following[:, 0] * polygon[:, 1]
    area = cross.sum() / 2
    return abs(float(area)), ((polygon + following) * cross[:, None]).sum(axis=0) / (6 * area)


def test_lateral_wall_follows_the_published_two_tier_law() -> None:
    angles = np.arange(30.0, 661.0, 10.0)
    near = 9.984 * (1 - 0.1304 * np.log(angles + 12.64))
    at_100 = 9.984 * (1 - 0.1304 * np.log(112.64))
    law = np.where(angles < 100, near, at_100 * np.exp(-0.001806 * (angles - 100)))
    assert np.abs(sections_at(angles).r_out - law).max() < 0.15


@pytest.mark.parametrize(("angle", "length"), [(180, 13.5), (360, 22.5), (540, 29.0), (660, 32.3)])
def test_outer_wall_is_as_long_as_measured(angle: float, length: float) -> None:
    angles = np.arange(0.0, angle + 0.5, 1.0)
    sections = sections_at(angles)
    path = cylindrical(angles, sections.r_out, sections.partition_z)
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(length, rel=0.05)


def test_a_value_is_that_of_the_mean_scala_tympani() -> None:
    sections = sections_at(np.array([0.0, 180.0]))
    round_window = (sections.r_in[0] + sections.r_out[0]) / 2
    assert round_window == pytest.approx(5.31, abs=0.05)
    assert round_window + sections.r_out[1] == pytest.approx(8.61, abs=0.1)


@pytest.mark.parametrize(
    ("angle", "area", "height"),
    [(60, 2.05, -0.20), (90, 1.76, -0.20), (180, 1.46, 0.22), (270, 1.39, 0.37), (450, 1.19, 1.08), (630, 0.83, 2.07)],
)
def test_sections_of_the_scala_tympani_have_the_measured_area_and_centre(
    angle: float, area: float, height: float
) -> None:
    scala = scala_tympani(mean_walls())
    ring = scala.rings[np.abs(scala.angle_deg - angle).argmin()]
    found_area, centroid = polygon_area_and_centroid(ring)
    assert found_area == pytest.approx(area, rel=0.12)
    assert centroid[1] == pytest.approx(height, abs=0.1)


def test_volumes_are_those_of_real_ears() -> None:
    tympani = scala_mesh(scala_tympani(mean_walls()), unit_pose())
    vestibuli = scala_mesh(scala_vestibuli(mean_walls()), unit_pose())
    assert tympani.signed_volume == pytest.approx(33.5, abs=1.5)
    # What the cap-filled label (74 to 77 mm3) leaves beside the scala tympani is more than the scala vestibuli.
    assert 20 < vestibuli.signed_volume < 76 - 33.5


def test_the_scalae_run_parallel_at_the_partition() -> None:
    tympani, vestibuli = scala_tympani(mean_walls()), scala_vestibuli(mean_walls())
    for angle in (45.0, 200.0, 400.0, 800.0):
        sections = sections_at(np.array([angle]))
        middle = (sections.r_in[0] + sections.r_out[0]) / 2
        under = tympani.rings[np.abs(tympani.angle_deg - angle).argmin()]
        over = vestibuli.rings[np.abs(vestibuli.angle_deg - angle).argmin()]
        roof = under[np.abs(under[:, 0] - middle) < 0.25][:, 1].max()
        floor = over[np.abs(over[:, 0] - middle) < 0.25][:, 1].min()
        # Rings of the two scalae may lie a step apart along a rising spiral.
        assert floor - roof == pytest.approx(PARTITION_MM, abs=0.15)


@given(st.tuples(*[st.floats(0.5, 1.5)] * 3))
@settings(max_examples=50, deadline=None)
def test_depth_passes_through_the_readings_and_closes_at_the_edges(depths: tuple[float, float, float]) -> None:
    profile = tympani_depth_profile(np.array([depths]), np.array([0.0, 0.2, 0.5, 0.8, 1.0]))[0]
    assert profile[[1, 2, 3]] == pytest.approx(depths, rel=1e-6)
    assert profile[[0, 4]] == pytest.approx(0.0, abs=1e-9)


def test_walls_change_the_sections_they_name() -> None:
    angles = np.array([0.0, 100.0, 300.0])
    walls = CochlearWalls(np.array([0.0, 200.0]), np.array([1.0, 1.2]), np.array([0.0, 0.4]), np.array([1.0, 0.8]))
    before, after = sections_at(angles), walls.apply(sections_at(angles))
    assert after.r_out / before.r_out == pytest.approx([1.0, 1.1, 1.2])
    assert after.partition_z - before.partition_z == pytest.approx([0.0, 0.2, 0.4])
    assert after.tympani_depth[:, 1] / before.tympani_depth[:, 1] == pytest.approx([1.0, 0.9, 0.8])
    assert np.array_equal(after.r_in, before.r_in)


def test_beyond_its_ends_the_spiral_holds_its_last_section() -> None:
    at_end, beyond = sections_at(np.array([LAST_ANGLE_DEG])), sections_at(np.array([LAST_ANGLE_DEG + 50]))
    assert beyond.r_out == pytest.approx(at_end.r_out)


@given(st.lists(st.tuples(*[st.floats(-20, 150)] * 3), min_size=1, max_size=5), st.floats(0.8, 1.2))
@settings(max_examples=50, deadline=None)
def test_pose_goes_there_and_back(points: list[tuple[float, float, float]], scale: float) -> None:
    nominal = nominal_pose(0.2)
    pose = CochlearPose(nominal.origin_ijk, nominal.axes, scale, 0.2)
    assert pose.to_ijk(pose.to_local(np.array(points))) == pytest.approx(np.array(points), abs=1e-9)


def test_a_left_cochlea_turns_clockwise_seen_from_its_apex() -> None:
    pose = nominal_pose(0.2)
    assert np.linalg.det(pose.axes) == pytest.approx(-1.0)
    # Axes are left, posterior, superior: the round window lies lateral, posterior and inferior of the axis, the apex
    # lateral and anterior.
    assert np.sign(pose.axes[0]).tolist() == [1, 1, -1]
    assert pose.axes[2, 0] > 0 > pose.axes[2, 1]
    assert pose.to_ijk(cylindrical(0.0, 5.31, 0.07)) == pytest.approx(64 + np.array([0.2, -1.9, -4.25]) / 0.2, abs=1.5)


def test_the_scala_tympani_lies_on_the_mean_of_micro_ct_ears() -> None:
    # A right ear in its own frame: its spiral turns as in the section frame, about an axis near (-2.67, 3.84).
    reference = np.asarray(trimesh.load_mesh(shared_path("anatomy/scala_tympani_mean.ply"), process=False).vertices)
    pose = CochlearPose(np.zeros(3), np.eye(3), 1.0, 1.0)
    mesh = scala_mesh(scala_tympani(mean_walls()), pose)
    distance = SignedDistance(mesh.vertices, mesh.triangles)

    def placed(x: FloatArray) -> FloatArray:
        turn = np.array([[np.cos(x[2]), -np.sin(x[2]), 0], [np.sin(x[2]), np.cos(x[2]), 0], [0, 0, 1]])
        return np.asarray((reference - np.array([x[0], x[1], -x[3]])) @ turn)

    start = np.array([-2.67, 4.0, np.radians(-65.0), 0.0])
    fit = least_squares(lambda x: np.clip(distance(placed(x)), -0.5, 0.5), start, diff_step=1e-3)
    apart = np.abs(distance(placed(fit.x)))
    assert np.median(apart) < 0.07
    assert np.quantile(apart, 0.9) < 0.15
    assert abs(fit.x[3]) < 0.1
