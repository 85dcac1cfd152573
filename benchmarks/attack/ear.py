"""An ear of clinical size that the shipped model takes."""

from __future__ import annotations

import gzip
import json

import nibabel
import numpy as np

from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle


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
