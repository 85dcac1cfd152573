"""The loaded models of a worker process: read once, kept for the jobs after."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from model.bundle import bundle_digest, find_bundle, load_bundle
from model.errors import BundleError

if TYPE_CHECKING:
    from model.segmentation import Segmenter


class BundleChangedError(BundleError):
    """The bundle of this name is not the one that was asked for."""

    code = "bundle-changed"
    title = "The model bundle was replaced"


def check_digest(found: str, wanted: str | None) -> None:
    """Refuse a bundle of another digest than wanted; None takes any.

    Raises:
        BundleChangedError: the digests differ.
    """
    if wanted is not None and found != wanted:
        raise BundleChangedError(
            "the bundle of this name is another one than was asked for",
            expected=f"digest {wanted}",
            found=found,
            hint="submit the job again to use the bundle that is there now, or restore the one that was",
            field="bundle",
        )


class Engine:
    """Segmenters by the digest of their bundle, those used last kept.

    Args:
        checkpoints: folder of bundles, or None for the shipped one.
        device: `auto`, `cpu` or `cuda`.
        kept: how many stay loaded.
    """

    def __init__(self, checkpoints: Path | None, device: str, kept: int) -> None:
        """Load nothing yet."""
        self._checkpoints = checkpoints
        self._device = device
        self._kept = kept
        self._loaded: OrderedDict[str, Segmenter] = OrderedDict()

    def segmenter(self, bundle: str, digest: str | None = None) -> Segmenter:
        """Give the ready segmenter of a bundle, all of whose files were verified when it was loaded.

        Args:
            bundle: name of the bundle.
            digest: SHA-256 its manifest must have, or None.

        Raises:
            BundleError: it is unknown, damaged or another one.
            DeviceError: the device is not there or lets the loading down.
        """
        path = find_bundle(bundle, self._checkpoints)
        segmenter = self._loaded.pop(bundle_digest(path), None)
        if segmenter is None:
            # Room is made first, so that never more are in memory than are kept.
            while len(self._loaded) >= self._kept:
                self._loaded.popitem(last=False)
            segmenter = self._load(path)
        self._loaded[segmenter.bundle.digest] = segmenter
        check_digest(segmenter.bundle.digest, digest)
        return segmenter

    def _load(self, path: Path) -> Segmenter:
        """Verify and load a bundle."""
        # Only the process that computes pays for importing torch, and only after it was forked.
        from model.segmentation import Segmenter

        return Segmenter(load_bundle(path), self._device)
