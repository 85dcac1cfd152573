"""The atlas, from labelled ears to what training and bundles need, in one folder."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import map_coordinates

from model.atlas.groupwise import Groupwise, groupwise_mean, simplify
from model.atlas.interior import build_interior, cochlear_angle
from model.atlas.labelled_ears import LabelledEar
from model.errors import InputError
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.registration.control_grid import expand_all, sample_spanning
from model.structures import LABYRINTH, STRUCTURE_IDS

ATLAS_FILE = "atlas.npz"
TRIANGLES = 24000
"""Triangles of the mean labyrinth, and of every label's surface during the fits."""

FLUID_HU = (-250.0, 600.0)
"""Median HU of a label that counts as filled with fluid, as in a living patient; drained specimens lie below."""

MODES, MODE_GRID = 7, 24
"""Number of shape modes kept, and their nodes along each axis of the crop."""


@dataclass(frozen=True)
class Atlas:
    """Mean anatomy of a group of ears and how each of them differs from it.

    Attributes:
        meshes_ijk: closed outward surfaces by structure id, crop voxels, with `angle_deg` where it is defined.
        image_hu: float32 [grid] mean image of the fluid-filled ears.
        modes: (M, 3, g, g, g) principal displacement fields, crop voxels at one standard deviation, nodes spanning the
            crop.
        ear_vertices_ijk: by ear, (N, 3) where the vertices of all structures, in order, lie in that ear.
    """

    meshes_ijk: Mapping[str, SurfaceMesh]
    image_hu: npt.NDArray[np.float32]
    modes: npt.NDArray[np.float32]
    ear_vertices_ijk: Mapping[str, npt.NDArray[np.float32]]

    def vertices_ijk(self) -> npt.NDArray[np.float32]:
        """Give the (N, 3) vertices of all structures in order."""
        return np.concatenate([mesh.vertices for mesh in self.meshes_ijk.values()]).astype(np.float32)

    def counts(self) -> dict[str, int]:
        """Give the number of vertices of each structure, in order."""
        return {name: len(mesh.vertices) for name, mesh in self.meshes_ijk.items()}

    def save(self, folder: Path) -> None:
        """Write the atlas into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"image_hu": self.image_hu.astype(np.float16), "modes": self.modes}
        for name, mesh in self.meshes_ijk.items():
            arrays |= {f"{name}/vertices": mesh.vertices, f"{name}/triangles": mesh.triangles}
            arrays[f"{name}/angle_deg"] = mesh.point_data["angle_deg"]
        arrays |= {f"ear/{name}": vertices for name, vertices in self.ear_vertices_ijk.items()}
        np.savez_compressed(folder / ATLAS_FILE, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Atlas:
        """Read what `save` wrote.

        Raises:
            InputError: there is no atlas there.
        """
        try:
            with np.load(folder / ATLAS_FILE, allow_pickle=False) as stored:
                meshes = {
                    name: SurfaceMesh(
                        stored[f"{name}/vertices"],
                        stored[f"{name}/triangles"],
                        "ijk",
                        {"angle_deg": stored[f"{name}/angle_deg"]},
                    )
                    for name in STRUCTURE_IDS
                }
                ears = {key.removeprefix("ear/"): stored[key] for key in stored.files if key.startswith("ear/")}
                return cls(meshes, stored["image_hu"].astype(np.float32), stored["modes"], ears)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(
                "the atlas cannot be read",
                expected=f"a folder with the {ATLAS_FILE} that `cochlear atlas` writes",
                hint="run `cochlear atlas` first",
            ) from error


def build_atlas(
    ears: Sequence[LabelledEar],
    frame: CanonicalFrame,
    *,
    template: str,
    seed: int,
    progress: Callable[[str, float], None] | None = None,
) -> Atlas:
    """Build the atlas of a group of labelled ears.

    Args:
        ears: the training ears, in the frame.
        frame: the canonical frame.
        template: name of the ear whose label lends its topology (three canals: genus three).
        seed: of the fits.
        progress: called with what is being done and the fraction done.
    """
    surfaces = {ear.name: simplify(ear.surface_ijk, TRIANGLES) for ear in ears}
    group = groupwise_mean(surfaces, template, frame.grid, seed=seed, triangles=TRIANGLES, progress=progress)
    return finish_atlas(ears, frame, group)


def finish_atlas(ears: Sequence[LabelledEar], frame: CanonicalFrame, group: Groupwise) -> Atlas:
    """Add to a mean labyrinth the cochlea's inside, the mean image and the shape modes."""
    labyrinth = group.mean_ijk
    landmarks = frame.landmarks_ijk
    meshes = build_interior(labyrinth, landmarks, frame.spacing_mm)
    angle = cochlear_angle(labyrinth, landmarks, frame.spacing_mm)
    meshes[LABYRINTH.id] = replace(labyrinth, point_data={"angle_deg": angle})
    meshes = {name: meshes[name] for name in STRUCTURE_IDS}
    return Atlas(meshes, mean_image(ears, frame, group), shape_modes(group), placed_vertices(meshes, frame, group))


def placed_vertices(
    meshes_ijk: Mapping[str, SurfaceMesh], frame: CanonicalFrame, group: Groupwise
) -> dict[str, npt.NDArray[np.float32]]:
    """Give, by ear, (N, 3) where the vertices of all structures lie after the fit of its labyrinth, crop voxels."""
    vertices = torch.from_numpy(np.concatenate([mesh.vertices for mesh in meshes_ijk.values()])).float()
    placed = {}
    for name, fit in group.fits.items():
        field = _field(fit.coefficients, (48, 48, 48))
        placed[name] = (vertices + sample_spanning(field, vertices, frame.grid)).numpy()
    return placed


def mean_image(ears: Sequence[LabelledEar], frame: CanonicalFrame, group: Groupwise) -> npt.NDArray[np.float32]:
    """Average the images of the fluid-filled ears, each pulled back onto the mean shape, where they were seen.

    Returns:
        float32 [grid] HU; -1024 where no ear was seen.

    Raises:
        InputError: no ear is filled with fluid.
    """
    grid = frame.grid
    points = np.indices(grid).astype(np.float32)
    total, count = np.zeros(grid), np.zeros(grid)
    for ear in ears:
        if not FLUID_HU[0] <= float(np.median(ear.volume.data[ear.label])) <= FLUID_HU[1]:
            continue
        where = points + _field(group.fits[ear.name].coefficients, grid).numpy()
        seen = map_coordinates(ear.seen.astype(np.float32), where, order=1, mode="constant") > 0.99
        total += np.where(seen, map_coordinates(ear.image_hu, where, order=1, mode="nearest"), 0)
        count += seen
    if not count.any():
        raise InputError("no training ear is filled with fluid", expected="at least one, for the mean image")
    return np.where(count > 0, total / np.maximum(count, 1), -1024).astype(np.float32)


def shape_modes(group: Groupwise) -> npt.NDArray[np.float32]:
    """Give the principal modes of the group's displacement fields, (M, 3, g, g, g) voxels at one sigma."""
    shape = (MODE_GRID,) * 3
    fields = np.stack([_field(fit.coefficients, shape).numpy() for fit in group.fits.values()])
    centred = (fields - fields.mean(axis=0)).reshape(len(fields), -1)
    _, sizes, rows = np.linalg.svd(centred, full_matrices=False)
    count = min(MODES, len(fields) - 1)
    modes = rows[:count] * (sizes[:count, None] / np.sqrt(max(len(fields) - 1, 1)))
    return np.asarray(modes.reshape(count, 3, *shape), dtype=np.float32)


def _field(coefficients: Sequence[npt.NDArray[np.float32]], shape: tuple[int, ...]) -> torch.Tensor:
    """Evaluate fitted control grids densely."""
    return expand_all([torch.from_numpy(level) for level in coefficients], shape)
