"""A service to attack, with the shipped model, and an ear to send to it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import nibabel
import numpy as np

from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle


class Served:
    """`cochlear serve` on a data folder of its own, running while used as a context manager.

    Attributes:
        url: its address.
        process_id: its process.
        data_dir: its data folder.

    Args:
        **environment: settings.
    """

    def __init__(self, **environment: str) -> None:
        """Settle the settings; the service starts on entering."""
        self._environment = {**os.environ, **environment}
        self._environment.pop("COCHLEAR_REDIS_URL", None)

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.data_dir = Path(self._folder.name) / "data"
        command = [str(Path(sys.executable).with_name("cochlear")), "serve", "--port", "0"]
        self._process = subprocess.Popen(  # noqa: S603  (our own command)
            [*command, "--data-dir", str(self.data_dir)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101  (it is a pipe)
        self.url = next(line.split("ready at ")[1].split()[0] for line in self._process.stdout if "ready at " in line)
        self.process_id = self._process.pid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and erase its folder."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        self._folder.cleanup()


def plain_ear(seed: int = 0) -> tuple[bytes, str]:
    """Give a gzipped image that the shipped model takes, and its landmarks as JSON.

    It is smooth noise in Hounsfield units, of 0.4 mm voxels, with the landmarks at the atlas's places of a left ear.
    """
    frame = load_bundle(find_bundle(DEFAULT_BUNDLE)).frame
    rng = np.random.default_rng(seed)
    shape = (64, 66, 68)
    waves = [np.sin(np.linspace(0, rng.uniform(4, 9), size) + rng.uniform(0, 6)) for size in shape]
    data = 600.0 * np.einsum("i,j,k->ijk", *waves) + rng.normal(0.0, 30.0, shape)
    affine = np.diag([-0.4, -0.4, 0.4, 1.0])
    image = nibabel.Nifti1Image(data.astype(np.int16), affine)
    # Axes L, P, S: millimetres from the corner of the canonical crop, with L and P negated, are RAS here.
    points = {
        name: [-i * frame.spacing_mm, -j * frame.spacing_mm, k * frame.spacing_mm]
        for name, (i, j, k) in frame.landmarks_ijk.items()
    }
    landmarks = json.dumps({"side": "left", "space": "RAS", "unit": "mm", "landmarks": points})
    return gzip.compress(image.to_bytes(), 1, mtime=0), landmarks
