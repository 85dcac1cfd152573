"""Names of the files of a bundle and of the arrays in them."""

from __future__ import annotations

from typing import Literal

AtlasInput = Literal["image", "activation", "withheld", "none"]
"""What a network gets of the atlas; `withheld` when its publisher shows it in the activation maps of cases only."""

MANIFEST_FILE = "bundle.json"
WEIGHTS_FILE = "weights.safetensors"
ATLAS_FILE = "atlas.npz"

VERTICES, TRIANGLES = "vertices_ijk", "triangles"
"""Arrays of `atlas.npz`: (N, 3) float32 voxels and (M, 3) int32 indices into them, structures one after the other.
Every other array holds one float32 per vertex, NaN where a structure has no value."""

ATLAS_INPUT = "values"
"""The one array of the atlas input: [i, j, k] image or [c, i, j, k] activation, float16 or float32."""


def atlas_input_file(kind: AtlasInput) -> str:
    """Name of the file with what the network gets of the atlas, where it gets something."""
    return f"atlas_{kind}.npz"


def own_files(kind: AtlasInput) -> tuple[str, ...]:
    """Names of the files that make up a bundle, besides the manifest."""
    if kind == "none":
        return (WEIGHTS_FILE,)
    return (WEIGHTS_FILE, ATLAS_FILE) if kind == "withheld" else (WEIGHTS_FILE, ATLAS_FILE, atlas_input_file(kind))
