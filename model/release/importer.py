"""From the files of the published release to a model bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.bundle.schema import (
    AsStored,
    BundleDescription,
    FrameSection,
    NetworkInput,
    NetworkSection,
    Point,
    TrainingSection,
)
from model.bundle.write import write_bundle
from model.errors import ReleaseError
from model.networks.published import PublishedRegistrationNet
from model.release.atlas_files import (
    IMAGE_FILE,
    SPACING_MM,
    activation_file,
    read_release_image,
    read_release_meshes,
    scale_atlas_image,
)
from model.release.names import count_levels, rename_registration
from model.release.segnet import SEGNET_METHOD, import_segnet
from model.release.tensors import check_tensors
from model.release.torch_file import read_state_dict


def import_release(
    checkpoint: Path,
    atlas_dir: Path,
    *,
    method: str,
    name: str,
    to: Path,
    landmarks_ijk: Mapping[str, Point] | None = None,
    replace: bool = False,
) -> Path:
    """Write a bundle from a published network and its atlas; of the segmentation network when the method is `segnet`.

    A registration bundle takes crops as stored and samples vertices by the published rule, so it gives the published
    predictions. Of the atlas it holds the activation map of the method when the release has it, otherwise the scaled
    image. A bundle of the segmentation network holds no atlas; of the atlas only its grid is read.

    Args:
        checkpoint: `best.pth`, or the folder of its experiment.
        atlas_dir: `data/atlas` of the release.
        method: `segnet`, or the name of the activation map: `chamfer`, `p2p`, `dice`.
        name: name of the bundle.
        to: folder of bundles to write into.
        landmarks_ijk: landmarks of the atlas in its crop, in voxels, when known; without them the bundle takes prepared
            crops only. They are never assumed, since they hold for one atlas on one grid.
        replace: whether an earlier bundle of that name may be replaced.

    Returns:
        The folder of the bundle.

    Raises:
        ReleaseError: a file is missing, damaged or does not fit the others.
        BundleError: the bundle cannot be written.
    """
    state = read_state_dict(checkpoint)
    if method == SEGNET_METHOD:
        return import_segnet(state, atlas_dir, name=name, to=to, landmarks_ijk=landmarks_ijk, replace=replace)
    parameters = network_parameters(state)
    weights = check_weights(state, parameters)
    kind, atlas_input = _atlas_input(atlas_dir, method, parameters["base_width"])
    meshes = read_release_meshes(atlas_dir)
    _check_grid(atlas_input.shape[-3:], parameters["levels"], np.concatenate([m.vertices for m in meshes.values()]))
    section = NetworkSection(
        class_name="published_registration", parameters={**parameters}, input=NetworkInput(atlas=kind)
    )
    i, j, k = atlas_input.shape[-3:]
    frame = FrameSection(grid=(i, j, k), spacing_mm=SPACING_MM, landmarks_ijk=dict(landmarks_ijk or {}))
    description = _describe(name, method, section, frame)
    arrays = {key: tensor.numpy() for key, tensor in weights.items()}
    path = to / name
    write_bundle(path, description, weights=arrays, atlas_meshes_ijk=meshes, atlas_input=atlas_input, replace=replace)
    return path


def _describe(name: str, method: str, network: NetworkSection, frame: FrameSection) -> BundleDescription:
    """Say what the bundle is; nothing is stated that the release does not state."""
    return BundleDescription(
        name=name,
        version="1",
        licence="None stated by the publisher; ask the authors before redistribution.",
        citation="The published study of the release; cite it together with this program.",
        intended_use="Research use only: comparison with the published method. Not for diagnosis or treatment.",
        limits=("Takes crops as the published method prepares them, intensities in [-1, 1].",),
        network=network,
        frame=frame,
        intensity=AsStored(),
        sampler="published",
        training=TrainingSection(data=f"As published, method {method}.", details={"method": method}),
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
    return {"base_width": len(state["dp1_conv1.weight"]), "levels": levels}


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


def _atlas_input(
    folder: Path, method: str, channels: int
) -> tuple[Literal["image", "activation"], npt.NDArray[np.float32]]:
    """Read what the release has of the atlas for a method."""
    name = activation_file(method)
    if (folder / name).is_file():
        activation = read_release_image(folder / name)
        if activation.ndim != 4 or len(activation) != channels:
            raise ReleaseError(
                f"{name} does not fit the weights", expected=f"{channels} channels first", found=str(activation.shape)
            )
        return "activation", activation
    if (folder / IMAGE_FILE).is_file():
        image = read_release_image(folder / IMAGE_FILE)
        if image.ndim != 3:
            raise ReleaseError(f"{IMAGE_FILE} cannot be used", expected="3 dimensions", found=str(image.shape))
        return "image", scale_atlas_image(image)
    raise ReleaseError(
        f"the atlas of the method {method} is missing",
        expected=f"{name} or {IMAGE_FILE}",
        hint="networks of other methods need the activation map of their own first layer",
    )


def _check_grid(grid: tuple[int, ...], levels: int, vertices_ijk: npt.NDArray[np.float64]) -> None:
    """Refuse a grid that the network cannot halve, or that the vertices leave."""
    if any(size % 2**levels for size in grid):
        raise ReleaseError("the grid does not fit", expected=f"multiples of {2**levels}", found=str(grid))
    if vertices_ijk.min() < 0 or (vertices_ijk > np.array(grid) - 1).any():
        low, high = vertices_ijk.min(0).round(1).tolist(), vertices_ijk.max(0).round(1).tolist()
        raise ReleaseError("the vertices leave the crop", expected=f"0 to {grid}", found=f"{low} to {high}")
