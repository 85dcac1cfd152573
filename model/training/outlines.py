"""Predicted and true shapes of a case, in the voxels of the image that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from model.meshes.mesh import SurfaceMesh
from model.networks.coarse_to_fine import CoarseToFineNet
from model.training.runtime.overlay import Overlay, Shape


def registration_overlay(
    batch: Mapping[str, Any],
    moved_ijk: npt.NDArray[np.floating[Any]],
    meshes_ijk: Mapping[str, SurfaceMesh],
    network: nn.Module,
) -> Overlay:
    """Show the first case of a batch of `ChangedCases` or `CropDataset`.

    Args:
        batch: the batch.
        moved_ijk: (N, 3) atlas vertices carried into that case, crop voxels.
        meshes_ijk: surfaces of the atlas, in the order of the vertices.
        network: what registered; it knows which part of the crop a view shows.
    """
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes_ijk.values())])
    predicted = {
        name: mesh.with_vertices(moved_ijk[start : start + len(mesh.vertices)])
        for (name, mesh), start in zip(meshes_ijk.items(), starts, strict=False)
    }
    if "view" not in batch:
        true: dict[str, Shape] = {}
        for name, points in batch["points"][0].items():
            vertices = points.cpu().numpy()
            fits = bool(batch["corresponding"][0]) and name in meshes_ijk
            true[name] = meshes_ijk[name].with_vertices(vertices) if fits else vertices
        return Overlay(batch["image"][0, 0].float().cpu().numpy(), predicted, true)
    if not isinstance(network, CoarseToFineNet):
        raise ValueError("expected a network that looks at views")
    image = batch["view"][0, 0].float().cpu().numpy()
    scale = (image.shape[0] - 1) / (network.last - network.first)
    corners = np.split((batch["vertices"][0].cpu().numpy() - network.first) * scale, len(meshes_ijk))
    loose = {name: _triangles(own) for name, own in zip(meshes_ijk, corners, strict=True)}
    shown = {name: mesh.with_vertices((mesh.vertices - network.first) * scale) for name, mesh in predicted.items()}
    return Overlay(image, shown, loose)


def _triangles(corners: npt.NDArray[np.floating[Any]]) -> SurfaceMesh:
    """Give the loose triangles whose corners come in threes."""
    return SurfaceMesh(corners.astype(np.float64), np.arange(len(corners), dtype=np.int32).reshape(-1, 3), "ijk")
