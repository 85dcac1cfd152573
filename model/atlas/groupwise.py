"""Mean shape of a group of surfaces with vertex correspondence, by fitting a template to all and averaging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import fast_simplification
import numpy as np

from model.atlas.surface_fit import FitOptions, SurfaceFit, fit_surface
from model.meshes.mesh import SurfaceMesh
from model.meshes.smoothing import taubin_smooth

ROUGH = FitOptions(levels=(4, 6, 10), steps=50)
"""Options of the first round, whose mean only has to be near every ear."""

FINE = FitOptions()
"""Options of the later rounds."""


@dataclass(frozen=True)
class Groupwise:
    """A mean surface and the fields that carry it to every member of its group.

    Attributes:
        mean_ijk: the mean surface, crop voxels.
        fits: the last fit of every member, by its name.
    """

    mean_ijk: SurfaceMesh
    fits: Mapping[str, SurfaceFit]


def groupwise_mean(
    surfaces: Mapping[str, SurfaceMesh],
    template: str,
    grid: Sequence[int],
    *,
    seed: int,
    triangles: int = 24000,
    rounds: Sequence[FitOptions] = (ROUGH, FINE, FINE),
    progress: Callable[[str, float], None] | None = None,
) -> Groupwise:
    """Average a group of surfaces without losing thin parts.

    One member's surface, simplified, is fitted to every member; the mean position of each vertex over the group is the
    next template. Averaging positions keeps the canals, which voting over voxels dissolves where they do not overlap.

    Args:
        surfaces: closed surfaces in crop voxels, by name, aligned already.
        template: the member that lends its topology.
        grid: voxels of the crop along each axis.
        seed: of the points drawn in the fits.
        triangles: triangle count of the mean surface.
        rounds: options of each round of fits; the last round's fits are returned, from the mean of the rounds before.
        progress: called with the member's name and the fraction done.

    Returns:
        The mean surface and the fields from it to every member.
    """
    mean = simplify(surfaces[template], triangles)
    fits: dict[str, SurfaceFit] = {}
    done = 0
    for index, options in enumerate(rounds):
        if fits:
            average = np.mean([fit.vertices_ijk for fit in fits.values()], axis=0)
            mean = taubin_smooth(replace(mean, vertices=average), iterations=10)
        for name in sorted(surfaces):
            fits[name] = fit_surface(mean, surfaces[name], grid, seed=seed + index, options=options)
            done += 1
            if progress is not None:
                progress(name, done / (len(rounds) * len(surfaces)))
    return Groupwise(mean_ijk=mean, fits=fits)


def fit_group(
    surface: SurfaceMesh,
    surfaces: Mapping[str, SurfaceMesh],
    grid: Sequence[int],
    *,
    seed: int,
    options: FitOptions = FINE,
    progress: Callable[[str, float], None] | None = None,
) -> Groupwise:
    """Fit a mean surface that is known already to every member of a group; see `groupwise_mean`."""
    fits: dict[str, SurfaceFit] = {}
    for name in sorted(surfaces):
        fits[name] = fit_surface(surface, surfaces[name], grid, seed=seed, options=options)
        if progress is not None:
            progress(name, len(fits) / len(surfaces))
    return Groupwise(mean_ijk=surface, fits=fits)


def simplify(mesh: SurfaceMesh, triangles: int) -> SurfaceMesh:
    """Give the surface with about that many triangles (quadric edge collapse, topology kept by the library)."""
    if len(mesh.triangles) <= triangles:
        return mesh
    vertices, faces = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.triangles, target_count=triangles, agg=5
    )
    return SurfaceMesh(vertices=vertices, triangles=faces, space=mesh.space)
