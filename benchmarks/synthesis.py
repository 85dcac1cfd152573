"""How fast ears are made, and how like real ones they look in numbers.

    python -m benchmarks.synthesis                    # volumes per second, on 1 process and on every core, and CPU time
    python -m benchmarks.synthesis --ears DIR         # CT numbers, edge and noise beside the labelled training ears

Everything runs on the CPU; the numbers are of the machine it runs on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from model.atlas.labelled_ears import read_labelled_ears, read_split
from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle
from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh
from model.structures import LABYRINTH
from model.synthesis.appearance import appearance
from model.synthesis.ear import EarOptions, synthesize_ear
from model.synthesis.scanner import HU_MIN
from model.synthesis.template import TissueTemplate, build_template

GRID = (128, 128, 128)

_prepared: tuple[Mapping[str, SurfaceMesh], TissueTemplate]


def prepare(bundle: str) -> None:
    """Load the atlas into this process."""
    global _prepared
    atlas = load_bundle(find_bundle(bundle)).atlas_meshes_ijk
    _prepared = atlas, build_template(atlas)


def make(task: tuple[int, EarOptions]) -> float:
    """Make one ear and give the CPU seconds it took."""
    seed, options = task
    atlas, template = _prepared
    start = time.process_time()
    synthesize_ear(atlas, seed, options, template)
    return time.process_time() - start


def speed(pool: ProcessPoolExecutor, processes: int, options: EarOptions, count: int) -> tuple[float, float]:
    """Give volumes per second of a pool and CPU seconds per volume, after every process has made some."""
    list(pool.map(make, [(seed, options) for seed in range(4 * processes)]))
    start = time.perf_counter()
    cpu = list(pool.map(make, [(1000 + seed, options) for seed in range(count)]))
    return count / (time.perf_counter() - start), float(np.mean(cpu))


def measure_speed(bundle: str, processes: Sequence[int], count: int) -> dict[str, dict[str, float]]:
    """Measure and print volumes per second for every number of processes."""
    result: dict[str, dict[str, float]] = {}
    for number in processes:
        with ProcessPoolExecutor(number, get_context("spawn"), prepare, (bundle,)) as pool:
            for spacing in (0.4, 0.2):
                for share, name in ((0.0, "without implant"), (1.0, "with implant")):
                    options = EarOptions(spacing_mm=spacing, implant_share=share, with_ddf=False)
                    rate, cpu = speed(pool, number, options, count)
                    row = result.setdefault(f"{spacing} mm, {name}", {})
                    row[f"{number} processes, volumes per second"] = round(rate, 2)
                    row[f"{number} processes, CPU seconds per volume"] = round(cpu, 2)
                    text = f"{rate:.2f} volumes per second, {cpu:.2f} CPU seconds each"
                    print(f"{number} processes, {spacing} mm, {name}: {text}", flush=True)
    return result


def compare_looks(bundle: str, ears: Path, count: int) -> dict[str, dict[str, list[float]]]:
    """Measure training ears and synthetic ears and print 10th, 50th and 90th percentile of both."""
    model = load_bundle(find_bundle(bundle))
    labelled = read_labelled_ears(ears, read_split(ears)["train"], model.frame, fill_hu=HU_MIN)
    real = [appearance(ear.image_hu, voxelize(ear.surface_ijk, GRID), ear.seen) for ear in labelled]
    atlas = model.atlas_meshes_ijk
    template = build_template(atlas)
    options = EarOptions(implant_share=0.0, with_ddf=False)
    synthetic = []
    for seed in range(count):
        ear = synthesize_ear(atlas, seed, options, template)
        labyrinth = atlas[LABYRINTH.id].with_vertices(ear.vertices_ijk[LABYRINTH.id])
        synthetic.append(appearance(ear.image_hu, voxelize(labyrinth, GRID), ear.seen))
    result = {}
    print(f"{'':16}{'real: p10, median, p90':>32}{'synthetic':>32}")
    for name in real[0]:
        both = [np.percentile([row[name] for row in rows], [10, 50, 90]) for rows in (real, synthetic)]
        print(f"{name:16}" + "".join(f"{' '.join(f'{value:9.2f}' for value in values):>32}" for values in both))
        result[name] = {"real": both[0].round(3).tolist(), "synthetic": both[1].round(3).tolist()}
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE)
    parser.add_argument("--count", type=int, default=24, help="ears per measurement")
    parser.add_argument("--processes", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--ears", type=Path, help="folder of labelled ears with split.json: compare looks instead")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    if arguments.ears:
        numbers: object = compare_looks(arguments.bundle, arguments.ears, arguments.count)
    else:
        numbers = measure_speed(arguments.bundle, arguments.processes, arguments.count)
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
