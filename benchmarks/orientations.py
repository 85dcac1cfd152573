"""The 48 axis orders and flips of one ear must give the same meshes; this runs the whole method on all of them.

    python -m benchmarks.orientations --ear CT --landmarks JSON --bundle cochlea-ct-v2

Prints the largest distance between corresponding vertices in patient millimetres, and how many mask voxels differ once
a mask is turned back.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from model.bundle import find_bundle, load_bundle
from model.geometry.landmarks import Landmarks
from model.masks.voxelize import voxelize_structures
from model.request import check_request
from model.segmentation import Segmenter


def main() -> None:
    """Run all 48 and print the largest differences."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ear", type=Path, required=True)
    parser.add_argument("--landmarks", type=Path, required=True)
    parser.add_argument("--bundle", default="cochlea-ct-v2")
    arguments = parser.parse_args()
    segmenter = Segmenter(load_bundle(find_bundle(arguments.bundle)), "cpu")
    frame, intensity = segmenter.bundle.frame, segmenter.bundle.intensity
    landmarks = Landmarks.parse(arguments.landmarks.read_bytes())
    image: Any = nibabel.load(arguments.ear)
    first_vertices: dict[str, npt.NDArray[np.float64]] = {}
    first_masks: dict[str, npt.NDArray[np.bool_]] = {}
    worst_mm, worst_voxels, count = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ear.nii"
        for axes, flips in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
            order = np.array(list(zip(axes, flips, strict=True)), dtype=float)
            image.as_reoriented(order).to_filename(path)
            request = check_request(path, landmarks=landmarks, side=None, frame=frame, intensity=intensity)
            meshes = segmenter.run(request).meshes_ras
            masks = voxelize_structures(meshes, request.volume.affine, request.volume.shape)
            for name, mesh in meshes.items():
                mask = nibabel.apply_orientation(masks[name], _inverse(order))
                vertices = first_vertices.setdefault(name, mesh.vertices)
                worst_mm = max(worst_mm, float(np.linalg.norm(mesh.vertices - vertices, axis=1).max()))
                worst_voxels = max(worst_voxels, int((first_masks.setdefault(name, mask) != mask).sum()))
            count += 1
            print(f"{count}/48: {worst_mm:.6f} mm, {worst_voxels} voxels", flush=True)


def _inverse(
    order: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Give the axis order and flips that undo others."""
    inverse = np.zeros_like(order)
    for axis, (target, flip) in enumerate(order):
        inverse[int(target)] = (axis, flip)
    return inverse


if __name__ == "__main__":
    main()
