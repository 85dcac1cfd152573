"""A small real bundle for tests: spheres as the atlas, the tiny published network as the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import trimesh
from published_case import GRID, make_images, make_network

from model.bundle import BundleDescription, write_bundle
from model.bundle.schema import AsStored, FrameSection, NetworkSection, TrainingSection
from model.meshes.mesh import SurfaceMesh
from model.structures import LABYRINTH, MODIOLUS, SCALA_TYMPANI, SCALA_VESTIBULI

CENTRES = {MODIOLUS.id: (3.0, 5.0, 6.0), SCALA_TYMPANI.id: (4.0, 4.0, 9.0), SCALA_VESTIBULI.id: (3.5, 6.0, 8.0)}
LANDMARKS = {"RW": (3.0, 4.0, 5.0), "C": (4.0, 6.0, 7.0), "A": (2.0, 7.0, 9.0)}


def sphere(centre: npt.ArrayLike, radius: float, subdivisions: int = 1) -> SurfaceMesh:
    """Give a sphere in voxels, wound outward."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return SurfaceMesh(np.asarray(ball.vertices) + np.asarray(centre), np.asarray(ball.faces), "ijk")


def sphere_atlas() -> dict[str, SurfaceMesh]:
    """Give four spheres; the two scalae have an angle at every vertex."""
    meshes = {name: sphere(centre, 1.5) for name, centre in CENTRES.items()}
    for name in (SCALA_TYMPANI.id, SCALA_VESTIBULI.id):
        angle = np.linspace(0.0, 900.0, len(meshes[name].vertices), dtype=np.float32)
        meshes[name] = SurfaceMesh(meshes[name].vertices, meshes[name].triangles, "ijk", {"angle_deg": angle})
    return {**meshes, LABYRINTH.id: sphere((3.5, 5.5, 7.5), 3.4, 2)}


def describe(name: str, parameters: Mapping[str, int] | None = None) -> BundleDescription:
    """Give the description of a sphere bundle."""
    return BundleDescription(
        name=name,
        version="1.2.0",
        licence="Apache-2.0",
        intended_use="Tests.",
        limits=("Knows spheres only.",),
        network=NetworkSection(
            class_name="published_registration", parameters={**(parameters or {"base_width": 4, "levels": 2})}
        ),
        frame=FrameSection(grid=GRID, spacing_mm=0.2, landmarks_ijk=LANDMARKS),
        intensity=AsStored(),
        training=TrainingSection(data="None."),
        scores={"dice": {"labyrinth": 0.5}},
    )


def write_sphere_bundle(
    checkpoints: Path, name: str, *, half: bool = False, parameters: Mapping[str, int] | None = None
) -> Path:
    """Write the bundle into a folder of bundles and give its own folder."""
    weights = {key: tensor.numpy() for key, tensor in make_network().state_dict().items()}
    if half:
        weights = {key: w.astype(np.float16) if w.dtype == np.float32 else w for key, w in weights.items()}
    write_bundle(
        checkpoints / name,
        describe(name, parameters),
        weights=weights,
        atlas_meshes_ijk=sphere_atlas(),
        atlas_input=make_images()[1][0, 0].numpy(),
        extra_files={"README.md": b"# Spheres\n"},
    )
    return checkpoints / name
