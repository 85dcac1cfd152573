"""Refinement on images whose edge is known: a dark ball in bright bone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from surfaces import sphere

from model.meshes.mesh import SurfaceMesh
from model.registration.compose import then_control_grids
from model.registration.edges import edge_reliability
from model.registration.refinement import refine
from model.registration.refinement_options import RefinementOptions
from model.registration.trust import trust
from model.registration.warp import warp_vertices

SHAPE = (44, 46, 48)
SPACING_MM = 0.2
CENTRE = np.array([22.0, 23.5, 24.0])
RADIUS = 10.0
DEPTHS_MM = (0.2, 0.4, 0.6)
NOTHING_HELD = np.zeros((0, 3), dtype=np.float32)
OPTIONS = RefinementOptions(
    levels=(4, 6, 8),
    steps=40,
    depths_mm=DEPTHS_MM,
    points=1500,
    contrast=0.5,
    full_edge=0.5,
    stiffness=1.0,
    restraint=0.0,
    hold=0.0,
)
SHORT = replace(OPTIONS, steps=8)


def ball_image() -> npt.NDArray[np.float32]:
    """Give a ball of fluid in bone, blurred as by a scanner, in window units."""
    distance = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - CENTRE, axis=-1)
    return np.asarray(0.5 * np.tanh((distance - RADIUS) / 1.5), dtype=np.float32)


def refined(
    image: npt.NDArray[np.float32],
    trusted: npt.NDArray[np.float32],
    start: SurfaceMesh,
    options: RefinementOptions = OPTIONS,
) -> SurfaceMesh:
    """Refine a surface and carry it by the field."""
    levels = refine(image, trusted, start, all_reliable(start), NOTHING_HELD, SPACING_MM, options)
    ddf = then_control_grids(torch.zeros(3, *SHAPE), levels)
    return start.with_vertices(warp_vertices(torch.from_numpy(start.vertices).float(), ddf).numpy())


def all_reliable(surface: SurfaceMesh) -> npt.NDArray[np.float32]:
    return np.ones(len(surface.vertices), dtype=np.float32)


def everywhere() -> npt.NDArray[np.float32]:
    return np.ones(SHAPE, dtype=np.float32)


def test_a_shifted_sphere_finds_the_ball() -> None:
    start = sphere(RADIUS, CENTRE + np.array([2.0, 0.0, -1.0]), level=4)
    found = refined(ball_image(), everywhere(), start)
    assert np.abs(found.vertices.mean(axis=0) - CENTRE).max() < 0.1
    radii = np.linalg.norm(found.vertices - CENTRE, axis=1)
    assert abs(radii.mean() - RADIUS) < 0.1
    assert np.abs(radii - RADIUS).max() < 0.5


def test_a_sphere_too_small_grows_to_the_ball() -> None:
    found = refined(ball_image(), everywhere(), sphere(RADIUS - 2.0, CENTRE, level=4))
    radii = np.linalg.norm(found.vertices - CENTRE, axis=1)
    assert abs(radii.mean() - RADIUS) < 0.1
    assert np.abs(found.vertices.mean(axis=0) - CENTRE).max() < 0.1


def test_restraint_holds_back() -> None:
    start = sphere(RADIUS - 2.0, CENTRE, level=4)
    levels = refine(
        ball_image(), everywhere(), start, all_reliable(start), NOTHING_HELD, SPACING_MM, replace(SHORT, restraint=0.1)
    )
    free = refine(ball_image(), everywhere(), start, all_reliable(start), NOTHING_HELD, SPACING_MM, SHORT)
    size, free_size = (float(torch.cat([level.flatten() for level in some]).norm()) for some in (levels, free))
    assert size < 0.5 * free_size


def test_what_is_held_moves_less_than_what_is_drawn() -> None:
    """A ball within the ball stays nearly where it is, while the surface around it goes most of the way to its edge."""
    shift = np.array([2.0, 0.0, -1.0])
    start = sphere(RADIUS, CENTRE + shift, level=4)
    held = sphere(3.0, CENTRE + shift, level=2).vertices.astype(np.float32)
    moves = []
    for options in (OPTIONS, replace(OPTIONS, hold=0.1)):
        levels = refine(ball_image(), everywhere(), start, all_reliable(start), held, SPACING_MM, options)
        ddf = then_control_grids(torch.zeros(3, *SHAPE), levels)
        inner, outer = (
            np.linalg.norm(warp_vertices(torch.from_numpy(points).float(), ddf).numpy() - points, axis=1).mean()
            for points in (held, start.vertices)
        )
        moves.append((inner, outer))
    (free_inner, free_outer), (held_inner, held_outer) = moves
    assert held_inner < 0.1 * free_inner
    assert held_outer > 0.55 * free_outer


def test_a_sphere_in_the_right_place_stays() -> None:
    start = sphere(RADIUS, CENTRE, level=4)
    found = refined(ball_image(), everywhere(), start)
    assert np.linalg.norm(found.vertices - start.vertices, axis=1).mean() < 0.25


def test_nothing_moves_where_the_image_says_nothing() -> None:
    start = sphere(RADIUS - 2.0, CENTRE, level=3)
    found = refined(ball_image(), np.zeros(SHAPE, dtype=np.float32), start, SHORT)
    assert np.abs(found.vertices - start.vertices).max() < 1e-4
    # The optimiser scales rounding errors up to its step, which leaves some hundredths of a millimetre at most.
    found = refined(np.full(SHAPE, 0.25, dtype=np.float32), everywhere(), start, SHORT)
    assert SPACING_MM * np.abs(found.vertices - start.vertices).max() < 0.06


def test_an_untrusted_half_does_not_draw_the_surface() -> None:
    image = ball_image()
    trusted = everywhere()
    trusted[: int(CENTRE[0])] = 0.0
    # What lies in the untrusted half is nonsense: a bright wall through the ball.
    image[10:14] = 1.0
    start = sphere(RADIUS - 1.5, CENTRE, level=4)
    found = refined(image, trusted, start)
    seen = start.vertices[:, 0] > CENTRE[0] + 4
    radii = np.linalg.norm(found.vertices - CENTRE, axis=1)
    assert abs(radii[seen].mean() - RADIUS) < 0.5
    assert np.linalg.norm(found.vertices - start.vertices, axis=1)[~seen].max() < 3.0


def test_the_same_input_gives_the_same_field() -> None:
    start = sphere(RADIUS - 1.0, CENTRE, level=3)
    short = RefinementOptions(levels=(4, 6), steps=5, points=200)
    one, two = (
        refine(ball_image(), everywhere(), start, all_reliable(start), NOTHING_HELD, SPACING_MM, short)
        for _ in range(2)
    )
    assert [tuple(level.shape) for level in one] == [(3, 4, 4, 4), (3, 6, 6, 6)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not any(level.requires_grad for level in one)


def test_metal_and_the_border_of_the_field_of_view_are_kept_clear_of() -> None:
    indices = np.moveaxis(np.indices(SHAPE), 0, -1)
    metal = np.zeros(SHAPE, dtype=bool)
    depth_mm = (SPACING_MM * indices[..., 0]).astype(np.float32)
    options = RefinementOptions(metal_margin_mm=1.0, border_margin_mm=0.5, fade_mm=0.4)
    border = np.clip((depth_mm - 0.5) / 0.4, 0, 1)
    assert np.allclose(trust(depth_mm, metal, SPACING_MM, options), border)
    metal[20, 20, 20] = True
    from_metal_mm = SPACING_MM * np.linalg.norm(indices - [20, 20, 20], axis=-1)
    expected = border * np.clip((from_metal_mm - 1.0) / 0.4, 0, 1)
    assert np.allclose(trust(depth_mm, metal, SPACING_MM, options), expected, atol=1e-6)
    assert not trust(np.full(SHAPE, -1.0, dtype=np.float32), metal, SPACING_MM, options).any()


def test_unreliable_vertices_do_not_draw() -> None:
    start = sphere(RADIUS - 2.0, CENTRE, level=3)
    nobody = np.zeros(len(start.vertices), dtype=np.float32)
    levels = refine(ball_image(), everywhere(), start, nobody, NOTHING_HELD, SPACING_MM, SHORT)
    assert max(float(level.abs().max()) for level in levels) < 1e-4


def test_reliability_is_where_the_atlas_shows_an_edge() -> None:
    surface = sphere(RADIUS, CENTRE, level=4)
    image = ball_image()
    # On one side there is no bone but more fluid.
    image[31:] = -0.5
    reliability = edge_reliability(image, surface, SPACING_MM, DEPTHS_MM, 1.0)
    assert reliability.shape == (len(surface.vertices),)
    assert reliability.dtype == np.float32
    assert reliability.min() >= 0.0
    i = surface.vertices[:, 0]
    assert reliability[np.abs(i - CENTRE[0]) < 4].min() > 0.7
    sharper = edge_reliability(image, surface, SPACING_MM, DEPTHS_MM, 0.25)
    assert sharper[np.abs(i - CENTRE[0]) < 4].min() == 1.0
    assert reliability[i > CENTRE[0] + 9.5].max() < 0.3
    flipped = edge_reliability(-ball_image(), surface, SPACING_MM, DEPTHS_MM, 1.5)
    assert flipped.max() == 0.0
