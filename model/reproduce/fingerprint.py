"""A digest of all that predictions depend on besides the map, by which a later run knows its own results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import nn

from model.meshes.mesh import SurfaceMesh

_DIGITS = 32


def fingerprint(network: nn.Module, meshes_ijk: Mapping[str, SurfaceMesh] | None = None, *settings: str) -> str:
    """Digest weights, surfaces (vertices as float32, triangles) and settings; 32 hexadecimal digits of SHA-256.

    The same weights give the same digest, whether they come from a checkpoint or from the bundle made of it.
    """
    digest = hashlib.sha256(repr((type(network).__name__, *settings)).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().numpy().tobytes())
    for name, mesh in (meshes_ijk or {}).items():
        digest.update(name.encode())
        digest.update(mesh.vertices.astype("<f4").tobytes())
        digest.update(mesh.triangles.astype("<i4").tobytes())
    return digest.hexdigest()[:_DIGITS]
