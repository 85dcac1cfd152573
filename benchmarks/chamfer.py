"""Time our chamfer distance against brute-force searches of all pairs, on the CPU.

Run: `OMP_NUM_THREADS=1 python -m benchmarks.chamfer` (Linux). Prints for each way the best time of several runs,
forward and backward, how many times as fast ours is, how far value and gradient are apart, and the peak memory that a
run adds.
Large sets make torch compute distances by matrix products, which cancel: some points of the searches of all pairs get a
wrong neighbour that is almost as near, whence the difference of the gradients.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.voxelize import torus
from model.losses.chamfer import chamfer

POINTS = 10_000

_MEMORY_SCRIPT = """
import sys
from benchmarks import chamfer
method, sets = chamfer.METHODS[sys.argv[1]], chamfer.points()
chamfer.once(method, tuple(points[:, :100] for points in sets))
before = chamfer.peak_kib()
chamfer.once(method, sets)
print(chamfer.peak_kib() - before)
"""


def points() -> tuple[Tensor, Tensor]:
    """Give two sets of (1, POINTS, 3) points in crop voxels: vertices of a ring, and of one shifted and roughened."""
    rng = np.random.default_rng(0)
    vertices = torus(major=40.0, minor=6.0, sides=60, turns=240).vertices
    first, second = (rng.permutation(vertices)[:POINTS] for _ in range(2))
    second = second + np.array([1.5, -1.0, 0.5]) + rng.normal(scale=0.3, size=second.shape)
    return torch.from_numpy(first)[None].float(), torch.from_numpy(second)[None].float()


def own(predicted: Tensor, true: Tensor) -> Tensor:
    """Give the chamfer distance by our search."""
    return chamfer(predicted, true, backend="own")


def all_distances(predicted: Tensor, true: Tensor) -> Tensor:
    """Give the chamfer distance as the smallest of all distances, differentiated through them."""
    squares = torch.cdist(predicted, true).square()
    return squares.amin(2).mean() + squares.amin(1).mean()


def all_pairs_searched(predicted: Tensor, true: Tensor) -> Tensor:
    """Give the chamfer distance from a search of all pairs without gradient, then from the pairs found."""
    with torch.no_grad():
        distances = torch.cdist(predicted, true)
        to_true, to_predicted = distances.argmin(2)[0], distances.argmin(1)[0]
    forth, back = predicted - true[:, to_true], true - predicted[:, to_predicted]
    return forth.square().sum(-1).mean() + back.square().sum(-1).mean()


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "own": own,
    "all distances": all_distances,
    "all pairs searched": all_pairs_searched,
}
RUNS = {"own": 9, "all distances": 2, "all pairs searched": 5}


def once(method: Callable[[Tensor, Tensor], Tensor], sets: tuple[Tensor, ...]) -> tuple[float, float, Tensor]:
    """Run a method forward and backward; give the seconds, the value and the gradient of the first set."""
    first, second = (one.clone().requires_grad_() for one in sets)
    start = time.perf_counter()
    value = method(first, second)
    gradient, _ = torch.autograd.grad(value, [first, second])
    return time.perf_counter() - start, value.item(), gradient


def peak_kib() -> int:
    """Give the largest memory this process has had resident, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    if found is None:
        raise OSError("the kernel does not state the peak memory")
    return int(found[1])


def extra_memory_mib(name: str) -> float:
    """Give the peak memory that one run adds, in MiB, measured in a process of its own."""
    command = [sys.executable, "-c", _MEMORY_SCRIPT, name]
    result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (our own script)
    return float(result.stdout) / 1024


def main() -> None:
    """Run the benchmark."""
    sets = points()
    # The ways take turns, so that other load on the machine meets them all.
    results: dict[str, list[tuple[float, float, Tensor]]] = {name: [] for name in METHODS}
    for turn in range(max(RUNS.values())):
        for name, method in METHODS.items():
            if turn < RUNS[name]:
                results[name].append(once(method, sets))
    best = {name: min(seconds for seconds, _, _ in runs) for name, runs in results.items()}
    _, value, gradient = results["own"][0]
    sys.stdout.write(f"{POINTS} points a side, {torch.get_num_threads()} thread(s), forward and backward\n")
    for name, seconds in best.items():
        _, other_value, other_gradient = results[name][0]
        apart = (gradient - other_gradient).norm() / gradient.norm()
        sys.stdout.write(
            f"{name:>20}: {1000 * seconds:8.1f} ms (own is {seconds / best['own']:6.1f} times as fast), "
            f"{extra_memory_mib(name):7.1f} MiB, value apart {abs(other_value / value - 1):.0e}, gradient {apart:.0e}\n"
        )


if __name__ == "__main__":
    main()
