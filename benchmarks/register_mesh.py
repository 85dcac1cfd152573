"""Measure the registration of the atlas's labyrinth (11,996 vertices) onto other surfaces.

Run: `OMP_NUM_THREADS=1 python benchmarks/register_mesh.py [--ears FOLDER CASE ...]`. Without ears: the labyrinth, bent
by a known field, turned by 20 degrees and moved by 3 mm, remeshed through its mask, then with holes and with stray
pieces, so that the error of every vertex is known. With ears: folders `CASE/` with `labyrinth.nii.gz` and
`landmarks.json`, as of Wimmer et al. 2019; the surface of the label is the patient. Times are of the processor.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle
from model.evaluation.files import read_mask
from model.masks.surfaces import mask_surface_ras
from model.masks.voxelize import voxelize_structures
from model.meshes.mesh import SurfaceMesh
from model.surface_registration.register import RegistrationOptions, register_surface
from model.volumes.grid import stated_grid

VOXEL_MM = 0.15
DEFORMATIONS = ((0.8, 12.0), (1.2, 10.0), (0.8, 6.0))
"""Root mean square displacement and shortest wave, mm."""


def labyrinth() -> SurfaceMesh:
    """Give the labyrinth of the shipped model in RAS mm, a left ear."""
    bundle = load_bundle(find_bundle(DEFAULT_BUNDLE))
    affine = stated_grid(bundle.frame.grid, [bundle.frame.spacing_mm] * 3).affine
    return bundle.atlas_meshes_ijk["labyrinth"].transformed(affine, "ras")


def bent(points: npt.NDArray[np.float64], size_mm: float, wave_mm: float) -> npt.NDArray[np.float64]:
    """Bend points by a sum of plane waves, turn them by 20 degrees and move them by 3 mm."""
    random = np.random.default_rng(0)
    waves = random.normal(size=(24, 3))
    waves *= 2 * np.pi / wave_mm * random.uniform(0.5, 1, (24, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)
    sizes, phases = random.normal(size=(24, 3)), random.uniform(0, 2 * np.pi, 24)
    moved = points + size_mm * np.cos(points @ waves.T + phases) @ sizes * np.sqrt(2 / 3 / 24)
    turn = Rotation.from_rotvec(np.deg2rad(20) * np.ones(3) / np.sqrt(3)).as_matrix()
    centre = points.mean(axis=0)
    return np.asarray((moved - centre) @ turn.T + centre + [2.0, -2.0, 1.0])


def remeshed(surface: SurfaceMesh) -> SurfaceMesh:
    """Give the surface of the mask of a surface."""
    low = surface.vertices.min(axis=0) - 3 * VOXEL_MM
    affine = np.diag([*[VOXEL_MM] * 3, 1.0])
    affine[:3, 3] = low
    i, j, k = (int(size) for size in np.ceil((surface.vertices.max(axis=0) - low) / VOXEL_MM) + 4)
    return mask_surface_ras(voxelize_structures({"x": surface}, affine, (i, j, k))["x"], affine)


def with_holes(surface: SurfaceMesh) -> SurfaceMesh:
    """Cut eight holes of 0.8 mm radius."""
    middles = surface.vertices[surface.triangles].mean(axis=1)
    holes = middles[np.random.default_rng(1).choice(len(middles), 8)]
    kept = np.linalg.norm(middles[:, None] - holes, axis=2).min(axis=1) > 0.8
    return SurfaceMesh(surface.vertices, surface.triangles[kept], "ras")


def with_stray_pieces(surface: SurfaceMesh) -> SurfaceMesh:
    """Add five smaller copies of the surface itself, 1.5 to 4 mm wide, about 2 mm from it."""
    random, vertices, triangles = np.random.default_rng(2), [surface.vertices], [surface.triangles]
    for at in random.choice(len(surface.vertices), 5):
        small = (surface.vertices - surface.vertices.mean(axis=0)) * random.uniform(0.05, 0.12)
        triangles.append(surface.triangles + sum(map(len, vertices)))
        vertices.append(small + surface.vertices[at] + random.normal(size=3) * 1.2)
    return SurfaceMesh(np.concatenate(vertices), np.concatenate(triangles), "ras")


def measure(
    name: str, patient: SurfaceMesh, truth: npt.NDArray[np.float64] | None = None, *, mirror: bool = False
) -> None:
    """Register the labyrinth onto a surface and print how it went."""
    start = time.process_time()
    result = register_surface(labyrinth(), patient, RegistrationOptions(mirror=mirror))
    seconds, report = time.process_time() - start, result.report
    there, back = report.atlas_to_patient, report.patient_to_atlas
    line = (
        f"{name:24} {len(patient.vertices):6d} vertices, mean (95 %) "
        f"to patient {there.mean_mm:.3f} ({there.p95_mm:.3f}), to atlas {back.mean_mm:.3f} ({back.p95_mm:.3f}) mm, "
        f"{report.flipped_triangles} flipped, {seconds:.1f} s"
    )
    if truth is not None:
        errors = np.linalg.norm(result.surface_ras.vertices - truth, axis=1)
        line += f", error median {np.median(errors):.3f}, 95 % {np.percentile(errors, 95):.3f} mm"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ears", nargs="+", metavar=("FOLDER", "CASE"), default=[])
    ears = parser.parse_args().ears
    for case in ears[1:]:
        folder = Path(ears[0]) / case
        data, affine = read_mask(folder / "labyrinth.nii.gz")
        side = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))["side"]
        measure(case, mask_surface_ras(data != 0, affine), mirror=side == "right")
    if ears:
        return
    for size, wave in DEFORMATIONS:
        truth = bent(labyrinth().vertices, size, wave)
        patient = remeshed(labyrinth().with_vertices(truth))
        measure(f"bent {size} mm, waves {wave:.0f} mm", patient, truth)
        if (size, wave) == DEFORMATIONS[0]:
            measure("  with holes", with_holes(patient), truth)
            measure("  with stray pieces", with_stray_pieces(patient), truth)


if __name__ == "__main__":
    main()
