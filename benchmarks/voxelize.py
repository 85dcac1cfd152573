"""Time the voxelization of a labyrinth-sized surface on the canonical 128 x 128 x 128 grid.

Run: `OMP_NUM_THREADS=1 python benchmarks/voxelize.py`. Prints the best of several runs, in milliseconds.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh

GRID = (128, 128, 128)
RUNS = 7


def torus(major: float, minor: float, sides: int, turns: int) -> SurfaceMesh:
    """Give a torus about k in the middle of the grid, wound outward.

    Args:
        major: radius of the ring, in voxels.
        minor: radius of the tube, in voxels.
        sides: vertices around the tube.
        turns: vertices around the ring.
    """
    ring, tube = np.meshgrid(
        np.linspace(0, 2 * np.pi, turns, endpoint=False),
        np.linspace(0, 2 * np.pi, sides, endpoint=False),
        indexing="ij",
    )
    radius = major + minor * np.cos(tube)
    vertices = np.stack([radius * np.cos(ring), radius * np.sin(ring), minor * np.sin(tube)], axis=-1).reshape(-1, 3)
    corner = np.arange(turns * sides).reshape(turns, sides)
    right, up = np.roll(corner, -1, axis=0), np.roll(corner, -1, axis=1)
    across = np.roll(right, -1, axis=1)
    first = np.stack([corner, right, across], axis=-1).reshape(-1, 3)
    second = np.stack([corner, across, up], axis=-1).reshape(-1, 3)
    return SurfaceMesh(vertices + 63.5, np.concatenate([first, second]), "ijk")


def main() -> None:
    """Run the benchmark."""
    # A tube 1.6 mm wide and 150 mm2 of wall: the labyrinth's vertex count and more than its area.
    mesh = torus(major=40.0, minor=6.0, sides=60, turns=240)
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        mask = voxelize(mesh, GRID)
        times.append(time.perf_counter() - start)
    sys.stdout.write(
        f"{len(mesh.vertices)} vertices, {len(mesh.triangles)} triangles, {int(mask.sum())} voxels: "
        f"{1000 * min(times):.0f} ms (mesh volume {mesh.signed_volume:.0f} voxels)\n"
    )


if __name__ == "__main__":
    main()
