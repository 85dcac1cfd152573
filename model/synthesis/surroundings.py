"""The temporal bone round the labyrinth as signed distances (mm, negative inside) of simple solids, randomly varied.

Positions are canonical ijk of an average ear, read off the mean of aligned temporal-bone CT (Wimmer et al. 2019,
doi 10.1016/j.dib.2019.104782); each solid gets its own random size and shift and a rough surface, and all follow the
deformation of the ear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.synthesis.grid import CANONICAL_SIZE, CANONICAL_SPACING_MM, Float32Array, RenderGrid
from model.synthesis.splines import SplineField

_MM = CANONICAL_SPACING_MM

# Labyrinthine, tympanic and mastoid course of the facial nerve.
_FACIAL = ((48, 53, 63), (58, 35, 68), (70, 45, 66.5), (80, 57, 65), (88, 66, 58), (89, 69, 40), (88, 70, 10))
_CAROTID = ((20, 8, 30), (42, 12, 26), (52, 18, 8), (54, 20, -10))
_MALLEUS = ((92, 38, 66), (90, 37, 58), (84, 33, 40))
_INCUS = ((95, 46, 64), (88, 46, 54), (82, 49, 51), (79, 51, 54))
_ROUND_NICHE = ((70, 56, 41), (78, 50, 36))
_OVAL_NICHE = ((74, 53, 57), (84, 48, 58))
_ANTRUM = ((97, 42, 67), (105, 60, 74), (112, 80, 76))
_TENSOR = ((50, -5, 62), (66, 16, 62), (80, 34, 60))


@dataclass(frozen=True)
class Surroundings:
    """Signed distances (mm) on a grid, (n, n, n) float32 each.

    Attributes:
        outside: intracranial space beyond the bone (fluid and brain in patients, often air in specimens).
        air: tympanic cavity and air cells.
        marrow: spongy bone and marrow.
        nerve: internal auditory canal and the aperture of the cochlear nerve.
        soft: facial canal, great vessels, muscle, folds and remains of mucosa.
        ossicles: malleus, incus and stapes.
    """

    outside: Float32Array
    air: Float32Array
    marrow: Float32Array
    nerve: Float32Array
    soft: Float32Array
    ossicles: Float32Array


def build_surroundings(
    rng: np.random.Generator, points: Float32Array, labyrinth: Float32Array, grid: RenderGrid, pneumatisation: float
) -> Surroundings:
    """Draw the surroundings of one ear.

    Args:
        rng: source of randomness.
        points: (3, n, n, n) atlas points, canonical ijk, of the voxel centres of the ear.
        labyrinth: (n, n, n) distance to the labyrinth at these voxels, mm.
        grid: the grid of the voxels.
        pneumatisation: 0 (compact) to 1 (cells everywhere) of the petrous bone and mastoid.
    """
    rough = [_noise(rng, grid, scale) for scale in (1.6, 3.0, 2.4, 1.3)]
    outside = _outside(rng, points, labyrinth, rough[1])
    tympanum = np.minimum(_tympanum(rng, points, labyrinth, rough[1]), _niches(rng, points))
    air = np.minimum(tympanum, _cells(rng, points, labyrinth, rough, pneumatisation))
    marrow = np.maximum(0.2 * (rng.uniform(0.1, 1.1) - rough[2]), 1.8 - labyrinth)
    nerve = _nerve_canal(rng, points)
    soft = np.minimum(_soft(rng, points, rough[0]), _lining(rng, air, rough[3]))
    ossicles = _ossicles(rng, points)
    return Surroundings(outside, air, marrow, nerve, soft, ossicles)


def _noise(rng: np.random.Generator, grid: RenderGrid, scale_mm: float) -> Float32Array:
    """Give smooth noise of unit variance whose lattice has the given spacing."""
    step = scale_mm / _MM
    nodes = int(np.ceil(CANONICAL_SIZE / step)) + 4
    field = SplineField(rng.standard_normal((1, nodes, nodes, nodes)) / (151 / 315) ** 1.5, -1.5 * step, step)
    return np.asarray(field.on_axes(grid.centres)[0], dtype=np.float32)


def _plane(points: Float32Array, normal: npt.ArrayLike, through: npt.ArrayLike) -> Float32Array:
    """Give the distance (mm) in front of a plane."""
    direction = np.asarray(normal, dtype=np.float32)
    direction = direction / np.linalg.norm(direction)
    offset = float(direction @ np.asarray(through, dtype=np.float32))
    return np.asarray((np.tensordot(direction, points, axes=1) - offset) * _MM, dtype=np.float32)


def _tube(points: Float32Array, path: npt.ArrayLike, radii_mm: npt.ArrayLike) -> Float32Array:
    """Give the distance (mm) to a polyline of varying radius: (m, 3) canonical ijk and (m,) mm."""
    nodes = np.asarray(path, dtype=np.float32)
    radii = np.broadcast_to(np.asarray(radii_mm, dtype=np.float32), (len(nodes),))
    nearest = np.full(points.shape[1:], np.inf, dtype=np.float32)
    for start, end, first, last in zip(nodes[:-1], nodes[1:], radii[:-1], radii[1:], strict=True):
        way = end - start
        offset = points - start.reshape(3, 1, 1, 1)
        along = np.clip(np.tensordot(way, offset, axes=1) / float(way @ way), 0.0, 1.0)
        squared = sum((offset[axis] - way[axis] * along) ** 2 for axis in range(3))
        nearest = np.minimum(nearest, np.sqrt(squared) * np.float32(_MM) - (first + (last - first) * along))
    return np.asarray(nearest, dtype=np.float32)


def _shaken(rng: np.random.Generator, path: npt.ArrayLike, by_mm: float) -> npt.NDArray[np.float64]:
    """Shift a path as a whole and its nodes singly."""
    nodes = np.asarray(path, dtype=np.float64)
    whole = rng.normal(0.0, by_mm / _MM, 3)
    return nodes + whole + rng.normal(0.0, 0.4 * by_mm / _MM, nodes.shape)


def _outside(
    rng: np.random.Generator, points: Float32Array, labyrinth: Float32Array, rough: Float32Array
) -> Float32Array:
    """Posterior and middle cranial fossa: beyond two planes, but never nearer to the labyrinth than a thin roof."""
    towards_back = (-0.42 + rng.normal(0, 0.06), 0.9, rng.normal(0, 0.08))
    posterior = -_plane(points, towards_back, (45, 101 + rng.normal(0, 5), 55))
    upwards = (-0.22 + rng.normal(0, 0.05), -0.42 + rng.normal(0, 0.1), 0.9)
    middle = -_plane(points, upwards, (60, 50, 97 + rng.normal(0, 5)))
    gap = rng.uniform(0.5, 1.2)
    return np.asarray(np.maximum(np.minimum(posterior, middle) + 0.35 * rough, gap - labyrinth), dtype=np.float32)


def _tympanum(
    rng: np.random.Generator, points: Float32Array, labyrinth: Float32Array, rough: Float32Array
) -> Float32Array:
    """Tympanic cavity: lateral and in front of the labyrinth, leaving the promontory; epitympanum and antrum above."""
    depth = points[2] - 41.0
    # The medial wall recedes quickly up to the oval window and slowly above it.
    slope = np.clip(depth, -10.0, 9.0) + 0.4 * np.clip(depth - 14.0, 0.0, 40.0)
    medial = _plane(points, (0.78, -0.62, 0.0), (65.0 + rng.normal(0, 2), 29.0, 41.0)) - slope * np.float32(_MM)
    wall = labyrinth - rng.uniform(0.7, 1.2)
    back = _plane(points, (0.25, -0.97, 0.1), (90.0, 62.0 + rng.normal(0, 3), 45.0))
    roof = _plane(points, (0.15, 0.1, -0.98), (85.0, 40.0, 74.0 + rng.normal(0, 3)))
    floor = _plane(points, (0.2, 0.0, 0.98), (80.0, 40.0, 22.0 + rng.normal(0, 4)))
    cavity = -np.minimum.reduce([medial + 0.2 * rough, wall, back, roof, floor]) + 0.15 * rough
    antrum = _tube(points, _shaken(rng, _ANTRUM, 0.8), (2.0, 1.8, 2.6)) + 0.3 * rough
    return np.asarray(np.maximum(np.minimum(cavity, antrum), rng.uniform(0.5, 1.0) - labyrinth), dtype=np.float32)


def _niches(rng: np.random.Generator, points: Float32Array) -> Float32Array:
    """The niches of the round and the oval window, through which the tympanic cavity reaches the labyrinth."""
    round_window = _tube(points, _shaken(rng, _ROUND_NICHE, 0.2), np.array([0.75, 0.9]) * rng.uniform(0.7, 1.3))
    oval_window = _tube(points, _shaken(rng, _OVAL_NICHE, 0.2), np.array([0.7, 1.0]) * rng.uniform(0.7, 1.2))
    return np.minimum(round_window, oval_window)


def _lining(rng: np.random.Generator, air: Float32Array, rough: Float32Array) -> Float32Array:
    """Folds and remains of mucosa that cross the air."""
    return np.asarray(np.maximum(0.6 * (np.abs(rough) - rng.uniform(-0.3, 0.4)), air + 0.05), dtype=np.float32)


def _cells(
    rng: np.random.Generator,
    points: Float32Array,
    labyrinth: Float32Array,
    rough: list[Float32Array],
    pneumatisation: float,
) -> Float32Array:
    """Air cells: bubbles with thin walls, most in the mastoid, some below and above the labyrinth."""
    lateral = np.clip((points[0] - 84.0) / 12.0, -1.5, 1.0) + np.clip((points[1] - 45.0) / 25.0, -1.0, 0.5)
    below = np.clip((29.0 - points[2]) / 10.0, -2.5, 1.2) + rng.normal(0, 0.4)
    above = np.clip((points[2] - 92.0) / 10.0, -2.5, 0.8) + rng.normal(0, 0.4)
    likely = np.maximum(np.maximum(lateral, below), above) + 0.4 * rough[1] + 2.0 * (pneumatisation - 0.6)
    # Air where the noise is far from zero: the sheets round its zeros stay as the walls of a honeycomb.
    wall = 0.25 + 1.5 * np.clip(0.5 - likely, 0.0, 2.0)
    return np.asarray(np.maximum(0.4 * (wall - np.abs(rough[0])), rng.uniform(0.9, 2.0) - labyrinth), dtype=np.float32)


def _nerve_canal(rng: np.random.Generator, points: Float32Array) -> Float32Array:
    """Internal auditory canal, wider at its mouth, with the short aperture to the modiolus."""
    width = rng.uniform(0.75, 1.25)
    path = _shaken(rng, ((48, 60, 57), (40, 60, 57.5), (20, 58, 58), (-10, 54, 58)), 0.5)
    canal = _tube(points, path, np.array([1.0, 1.7, 2.1, 2.8]) * width)
    aperture = _tube(points, ((44, 56, 55), (43.5, 47, 52.5)), np.array([0.9, 0.75]) * rng.uniform(0.7, 1.2))
    facial = _tube(points, ((42, 58, 64), (49, 52, 64)), 0.5)
    return np.asarray(np.minimum(np.minimum(canal, aperture), facial), dtype=np.float32)


def _soft(rng: np.random.Generator, points: Float32Array, rough: Float32Array) -> Float32Array:
    """Facial canal, carotid canal, jugular bulb and tensor tympani."""
    facial = _tube(points, _shaken(rng, _FACIAL, 0.3), np.array([0.45, 0.9, 0.6, 0.6, 0.65, 0.7, 0.7]))
    carotid = _tube(points, _shaken(rng, _CAROTID, 1.2), rng.uniform(2.0, 2.9))
    bulb = _shaken(rng, ((52, 84, -8), (52, 84, 4 + rng.uniform(-8, 14))), 1.5)
    jugular = _tube(points, bulb, rng.uniform(2.5, 4.0)) + 0.2 * rough
    muscle = _tube(points, _shaken(rng, _TENSOR, 0.6), np.array([1.5, 1.1, 0.5]))
    return np.asarray(np.minimum.reduce([facial, carotid, jugular, muscle]), dtype=np.float32)


def _ossicles(rng: np.random.Generator, points: Float32Array) -> Float32Array:
    """Malleus, incus and stapes; each ear has them at a slightly different place."""
    malleus = _tube(points, _shaken(rng, _MALLEUS, 0.5), (1.2, 0.55, 0.45))
    incus = _tube(points, _shaken(rng, _INCUS, 0.5), (1.5, 0.6, 0.4, 0.35))
    stapes = _tube(points, _shaken(rng, ((79, 51, 54), (71, 54.5, 56.5)), 0.2), (0.3, 0.35))
    return np.asarray(np.minimum.reduce([malleus, incus, stapes]), dtype=np.float32)
