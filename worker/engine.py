"""The loaded model of a worker process: read once, kept for every job after."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from model.bundle import find_bundle, load_bundle, verify_bundle

if TYPE_CHECKING:
    from model.segmentation import Segmenter


def segmenter_for(bundle: str, checkpoints: Path | None, device: str) -> Segmenter:
    """Give the ready segmenter of a bundle.

    Args:
        bundle: name of the bundle.
        checkpoints: folder of bundles, or None for the shipped one.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        BundleError: when it is unknown or damaged.
        DeviceError: when the device is not there.
    """
    path = find_bundle(bundle, checkpoints)
    return _load(path, (path / "bundle.json").stat().st_mtime_ns, device)


@lru_cache(maxsize=2)
def _load(path: Path, _version: int, device: str) -> Segmenter:
    """Load a bundle; a bundle that was replaced on disk has another version and is loaded anew."""
    # Only the process that computes pays for importing torch, and only after it was forked.
    from model.segmentation import Segmenter

    verify_bundle(path)
    return Segmenter(load_bundle(path), device)
