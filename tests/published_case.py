"""A tiny registration by the published network, all of it computed from formulas, and its recorded result.

Run as a script, this file records the result anew: `python tests/published_case.py`. Do that only with code that passes
`tests/model/networks/test_published_release.py`, which compares it with what the published program computes.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.networks.published import PublishedRegistrationNet
from model.registration.warp import warp_vertices

GRID = (8, 12, 16)
RECORD = Path(__file__).parent / "model" / "networks" / "published_case.npz"


def formula_values(name: str, shape: tuple[int, ...], scale: float, offset: float = 0.0) -> Tensor:
    """Give values in offset +- scale that look irregular and depend on the name alone."""
    number = np.arange(int(np.prod(shape)), dtype=np.float64)
    phase = zlib.crc32(name.encode()) % 1000
    return torch.tensor(offset + scale * np.sin(1.7 * number + 0.013 * number**2 + phase), dtype=torch.float32).reshape(
        shape
    )


def formula_state(network: torch.nn.Module) -> dict[str, Tensor]:
    """Give a state dict of bounded activations for a network."""
    state = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            state[name] = formula_values(name, shape, 0.4, 1.0)
        elif len(shape) == 5:
            state[name] = formula_values(name, shape, 1.1 / float(np.prod(shape[1:])) ** 0.5)
        else:
            state[name] = formula_values(name, shape, 0.3)
    return state


def make_network() -> PublishedRegistrationNet:
    """Give a network of width 4 and two levels in evaluation mode."""
    network = PublishedRegistrationNet(base_width=4, levels=2)
    network.load_state_dict(formula_state(network))
    return network.eval()


def make_images() -> tuple[Tensor, Tensor]:
    """Give patient and atlas, (1, 1, I, J, K) in [-1, 1]; no two axes are alike."""
    i, j, k = (torch.arange(size, dtype=torch.float32) for size in GRID)
    grid = torch.meshgrid(i, j, k, indexing="ij")
    patient = torch.sin(0.9 * grid[0] + 0.31 * grid[1] - 0.17 * grid[2])
    atlas = torch.cos(0.23 * grid[0] - 0.7 * grid[1] + 0.41 * grid[2])
    return patient[None, None], atlas[None, None]


def make_vertices() -> Tensor:
    """Give (60, 3) points in and a little beyond the crop."""
    unit = formula_values("vertices", (60, 3), 0.55, 0.5)
    return unit * (torch.tensor(GRID, dtype=torch.float32) - 1)


def compute() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Register the tiny case and carry the vertices along by both rules."""
    with torch.no_grad():
        ddf = make_network()(*make_images())[0]
        published = warp_vertices(make_vertices(), ddf, "published")
        trilinear = warp_vertices(make_vertices(), ddf, "trilinear")
    return {"ddf": ddf.numpy(), "published": published.numpy(), "trilinear": trilinear.numpy()}


def main() -> None:
    """Record the result."""
    np.savez_compressed(RECORD, allow_pickle=False, **compute())


if __name__ == "__main__":
    main()
