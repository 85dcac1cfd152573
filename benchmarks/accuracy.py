"""How accurate a bundle is: Dice on labelled ears, point-to-point error on unseen synthetic ears.

    python -m benchmarks.accuracy --bundle cochlea-ct-v1 --ears DIR --synthetic 20 --json scores.json

Every ear is segmented three times: rigid alignment alone, the network alone, and the network followed by refinement.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import Bundle, find_bundle, load_bundle
from model.evaluation.distances import point_to_point_mm
from model.evaluation.overlap import dice
from model.geometry.landmarks import Landmarks
from model.geometry.spaces import apply_affine
from model.masks.voxelize import voxelize_structures
from model.meshes.convert import to_space
from model.meshes.formats import read_mesh
from model.meshes.mesh import SurfaceMesh
from model.request import CheckedRequest, check_request
from model.segmentation import Segmenter
from model.structures import LABYRINTH, STRUCTURE_IDS
from model.synthesis.ear import EarOptions, SyntheticEar, synthesize_ear
from model.synthesis.export import write_ear
from model.synthesis.template import build_template
from model.volumes.read import read_image
from model.volumes.write import write_nifti

WAYS = ("rigid", "network", "refined")


def segment_all_ways(segmenter: Segmenter, request: CheckedRequest) -> dict[str, dict[str, SurfaceMesh]]:
    """Give the surfaces (RAS mm) of rigid alignment, the network alone and the whole method."""
    refinement = segmenter.refinement
    result = {"rigid": dict(segmenter.run(request, deform=False).meshes_ras)}
    segmenter.refinement = None
    result["network"] = dict(segmenter.run(request).meshes_ras)
    segmenter.refinement = refinement
    result["refined"] = dict(segmenter.run(request).meshes_ras)
    return result


def score_labelled(segmenter: Segmenter, folder: Path) -> dict[str, float]:
    """Give the labyrinth Dice of each way, and the final surface distance in mm, on one labelled ear."""
    bundle = segmenter.bundle
    request = load(folder, bundle)
    label = read_image(folder / "labyrinth.nii.gz").data > 0.5
    scores = {}
    for way, meshes in segment_all_ways(segmenter, request).items():
        masks = voxelize_structures({LABYRINTH.id: meshes[LABYRINTH.id]}, request.volume.affine, request.volume.shape)
        scores[way] = round(dice(masks[LABYRINTH.id], label), 4)
    return scores


def score_synthetic(ear: SyntheticEar, segmenter: Segmenter, *, landmarks: bool) -> dict[str, dict[str, float]]:
    """Give the mean point-to-point error in mm of each way and structure on one synthetic ear.

    Args:
        ear: the ear.
        segmenter: the model.
        landmarks: True submits a raw CT with (noisy) landmarks, which take out most of the pose; False submits the
            prepared crop as drawn, its pose left for the model to find.
    """
    bundle = segmenter.bundle
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_ear(ear, bundle.atlas_meshes_ijk, bundle.frame, folder)
        if landmarks:
            request = load(folder, bundle)
            truth = {
                name: to_space(read_mesh(folder / "truth" / f"{name}.vtk"), "ras").vertices for name in STRUCTURE_IDS
            }
        else:
            crop = folder / "crop.nii.gz"
            write_nifti(crop, bundle.intensity.apply(ear.image_hu), bundle.frame.affine_ras)
            request = check_request(crop, landmarks=None, side="left", frame=bundle.frame)
            to_ras = request.alignment.canonical_to_ras
            truth = {name: apply_affine(to_ras, ear.vertices_ijk[name]) for name in STRUCTURE_IDS}
    found = segment_all_ways(segmenter, request)
    return {
        way: {name: float(point_to_point_mm(meshes[name].vertices, truth[name]).mean()) for name in STRUCTURE_IDS}
        for way, meshes in found.items()
    }


def load(folder: Path, bundle: Bundle) -> CheckedRequest:
    """Check the CT of a folder with its landmarks."""
    landmarks = Landmarks.parse((folder / "landmarks.json").read_bytes())
    return check_request(
        folder / "ct.nii.gz", landmarks=landmarks, side=None, frame=bundle.frame, intensity=bundle.intensity
    )


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Give the median over ears of each way and structure."""
    return {
        way: {name: round(float(np.median([row[way][name] for row in rows])), 3) for name in STRUCTURE_IDS}
        for way in WAYS
    }


def score_synthetic_ears(segmenter: Segmenter, count: int) -> dict[str, Any]:
    """Score unseen synthetic ears, posed and with landmarks, and print the tables."""
    template = build_template(segmenter.bundle.atlas_meshes_ijk)
    options = EarOptions(with_ddf=False)
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for seed in range(count):
        ear = synthesize_ear(segmenter.bundle.atlas_meshes_ijk, seed, options, template)
        for way, landmarks in (("posed", False), ("landmarks", True)):
            row = score_synthetic(ear, segmenter, landmarks=landmarks)
            rows.setdefault(way, []).append(row)
            implant = "with_implant" if ear.metal.any() else "without_implant"
            rows.setdefault(f"{way}_{implant}", []).append(row)
        print(f"synthetic ear {seed} done", flush=True)
    scores = {f"synthetic_p2p_mm_median_{name}": summarise(part) for name, part in rows.items()}
    for name, values in scores.items():
        print(name, len(rows[name.removeprefix("synthetic_p2p_mm_median_")]), json.dumps(values))
    return {"synthetic_ears": count, **scores}


def main() -> None:
    """Score a bundle and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", default="cochlea-ct-v1")
    parser.add_argument("--ears", type=Path, help="folder of labelled ears with split.json")
    parser.add_argument("--part", default="validation", help="part of the split, or names separated by commas")
    parser.add_argument("--synthetic", type=int, default=0, help="number of unseen synthetic ears")
    parser.add_argument("--json", type=Path, help="file for the scores")
    arguments = parser.parse_args()
    segmenter = Segmenter(load_bundle(find_bundle(arguments.bundle)), "auto")
    scores: dict[str, Any] = {}
    if arguments.ears:
        split = json.loads((arguments.ears / "split.json").read_text())
        names = split.get(arguments.part, arguments.part.split(","))
        rows = {}
        for name in names:
            start = time.perf_counter()
            rows[name] = score_labelled(segmenter, arguments.ears / name)
            print(name, rows[name], f"{time.perf_counter() - start:.1f} s", flush=True)
        rows["mean"] = {way: round(float(np.mean([row[way] for row in rows.values()])), 4) for way in WAYS}
        print("mean", rows["mean"])
        scores["labyrinth_dice"] = rows
    if arguments.synthetic:
        scores |= score_synthetic_ears(segmenter, arguments.synthetic)
    if arguments.json:
        arguments.json.write_text(json.dumps(scores, indent=2) + "\n")


if __name__ == "__main__":
    main()
