"""From the files of the published release to a model bundle."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.bundle.schema import BUNDLE_NAME, BundleDescription, FrameSection, NetworkInput, NetworkSection
from model.bundle.write import write_bundle
from model.errors import OptionError, ReleaseError
from model.networks.published import PublishedRegistrationNet
from model.release import statement
from model.release.atlas_files import read_release_meshes
from model.release.atlas_input import Grid, ReleaseAtlasInput, read_atlas_input
from model.release.frame import release_frame
from model.release.methods import check_method
from model.release.names import count_levels, rename_registration
from model.release.segnet import SEGNET_METHOD, import_segnet
from model.release.tensors import check_tensors
from model.release.torch_file import read_state_dict

Progress = Callable[[str, float], None]


def import_release(
    checkpoint: Path,
    atlas_dir: Path,
    *,
    method: str,
    name: str,
    to: Path,
    replace: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a bundle from a published network and its atlas; of the segmentation network when the method is `segnet`.

    A registration bundle samples vertices by the published rule, so it gives the published predictions. Of the atlas it
    holds the activation map of the method when the release has it, otherwise the scaled image, otherwise nothing: it
    then serves activation maps of cases only. A bundle of the segmentation network holds no atlas; of the atlas only
    its grid is read. Landmarks are those of the canonical frame (`release_frame`).

    Args:
        checkpoint: `best.pth`, or the folder of its experiment.
        atlas_dir: `data/atlas` of the release.
        method: one of `METHODS`.
        name: name of the bundle.
        to: folder of bundles to write into.
        replace: whether an earlier bundle of that name may be replaced.
        progress: told what is being done and the fraction done.

    Returns:
        The folder of the bundle.

    Raises:
        OptionError: no such method, or a name that no bundle can have.
        ReleaseError: a file is missing, damaged or does not fit the others.
        BundleError: the bundle cannot be written.
    """
    check_method(method)
    if re.fullmatch(BUNDLE_NAME, name) is None:
        expected = "letters, digits, points, dashes and underscores, at most 64"
        raise OptionError("the name of the bundle cannot be used", expected=expected, found=ascii(name[:40]))
    if not atlas_dir.is_dir():
        raise ReleaseError("the folder of the atlas is missing", expected="the folder data/atlas of the release")
    tell = progress or (lambda _text, _fraction: None)
    tell("read weights", 0.0)
    state = read_state_dict(checkpoint)
    if method == SEGNET_METHOD:
        return import_segnet(state, atlas_dir, name=name, to=to, replace=replace)
    return _import_registration(state, atlas_dir, method, to / name, replace, tell)


def _import_registration(
    state: Mapping[str, Tensor], atlas_dir: Path, method: str, path: Path, replace: bool, tell: Progress
) -> Path:
    """Write the bundle of a registration network."""
    parameters = network_parameters(state)
    weights = check_weights(state, parameters)
    tell("read atlas", 0.1)
    atlas = read_atlas_input(atlas_dir, method, weights)
    meshes = read_release_meshes(atlas_dir)
    _check_grid(atlas.grid, parameters["levels"], np.concatenate([mesh.vertices for mesh in meshes.values()]))
    tell("write bundle", 0.3)
    arrays = {key: tensor.numpy() for key, tensor in weights.items()}
    description = _describe(path.name, method, parameters, atlas)
    write_bundle(path, description, weights=arrays, atlas_meshes_ijk=meshes, atlas_input=atlas.values, replace=replace)
    tell("write bundle", 1.0)
    return path


def _describe(name: str, method: str, parameters: Mapping[str, int], atlas: ReleaseAtlasInput) -> BundleDescription:
    """Say what the bundle is."""
    frame = release_frame(atlas.grid)
    withheld = ("Takes activation maps of cases only: the image of the atlas is not published.",)
    return BundleDescription(
        name=name,
        version=statement.VERSION,
        licence=statement.LICENCE,
        citation=statement.CITATION,
        intended_use=statement.INTENDED_USE,
        limits=withheld if atlas.kind == "withheld" else statement.limits(frame),
        network=NetworkSection(
            class_name="published_registration", parameters={**parameters}, input=NetworkInput(atlas=atlas.kind)
        ),
        frame=FrameSection.model_validate(frame.to_json()),
        intensity=statement.INTENSITY,
        sampler="published",
        training=statement.training(method),
    )


def network_parameters(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Give the parameters of `PublishedRegistrationNet` that a published state dict was made with.

    Raises:
        ReleaseError: it is the state of another network.
    """
    levels = count_levels(state)
    if not levels:
        found = ", ".join(list(state)[:3])
        raise ReleaseError("the weights are of another network", expected="a tensor dp1_conv1.weight", found=found)
    first = state["dp1_conv1.weight"]
    if first.ndim != 5 or len(first) < 2:
        expected = "a tensor dp1_conv1.weight of 5 dimensions and 2 or more channels"
        raise ReleaseError("the weights are of another network", expected=expected, found=str(tuple(first.shape)))
    return {"base_width": len(first), "levels": levels}


def check_weights(state: Mapping[str, Tensor], parameters: Mapping[str, int]) -> dict[str, Tensor]:
    """Give a published state dict under the names used here, all names and shapes checked.

    Raises:
        ReleaseError: a tensor is missing, too many or of another shape.
    """
    weights = rename_registration(state)
    with torch.device("meta"):
        wanted = PublishedRegistrationNet(**parameters).state_dict()
    check_tensors(weights, wanted)
    return weights


def _check_grid(grid: Grid, levels: int, vertices_ijk: npt.NDArray[np.float64]) -> None:
    """Refuse a grid that the network cannot halve, or that the vertices leave."""
    if any(size % 2**levels for size in grid):
        raise ReleaseError("the grid does not fit", expected=f"multiples of {2**levels}", found=str(grid))
    if vertices_ijk.min() < 0 or (vertices_ijk > np.array(grid) - 1).any():
        low, high = vertices_ijk.min(0).round(1).tolist(), vertices_ijk.max(0).round(1).tolist()
        raise ReleaseError("the vertices leave the crop", expected=f"0 to {grid}", found=f"{low} to {high}")
