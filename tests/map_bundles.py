"""Bundles of tiny published networks, a crop, and the activation maps that the networks make of it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from bundle_fixtures import describe, sphere
from published_case import formula_state, formula_values
from threshold_maps import save_map

from model.bundle import write_bundle
from model.bundle.schema import AsStored, FrameSection, SegmentationSection, TrainingSection
from model.geometry.frame import CanonicalFrame
from model.networks.published import PublishedRegistrationNet
from model.networks.segnet import PublishedSegNet
from model.structures import STRUCTURE_IDS
from model.training.segmentation_bundle import write_segnet_bundle

GRID = (28, 32, 36)
"""Crops of these sizes are large enough to be taken as images, and no two axes are alike."""

CROP_AFFINE = np.diag([-0.2, -0.2, 0.2, 1.0])
CENTRES = ((12, 15, 20), (15, 13, 17), (13, 18, 14), (14, 16, 18))


def patient() -> torch.Tensor:
    """Give the (1, 1, I, J, K) crop."""
    return formula_values("patient", (1, 1, *GRID), 0.9)


def save_crop(path: Path) -> Path:
    """Write the crop as an image."""
    nibabel.Nifti1Image(patient()[0, 0].numpy(), CROP_AFFINE).to_filename(path)
    return path


def _network_and_atlas() -> tuple[PublishedRegistrationNet, torch.Tensor]:
    """Give a registration network of width 4 and two levels, and its (1, 1, I, J, K) atlas image."""
    network = PublishedRegistrationNet(base_width=4, levels=2)
    network.load_state_dict(formula_state(network))
    return network.eval(), formula_values("atlas", (1, 1, *GRID), 0.9)


def write_registration_bundle(folder: Path, name: str, method: str = "chamfer") -> Path:
    """Write the bundle of the registration network as an import does; its atlas is four spheres."""
    network, atlas = _network_and_atlas()
    update = {
        "sampler": "published",
        "frame": FrameSection(grid=GRID, spacing_mm=0.2),
        "training": TrainingSection(data="None.", details={"method": method}),
    }
    meshes = (sphere(centre, 3.0 + number, 2) for number, centre in enumerate(CENTRES))
    write_bundle(
        folder / name,
        describe(name).model_copy(update=update),
        weights={key: tensor.numpy() for key, tensor in network.state_dict().items()},
        atlas_meshes_ijk=dict(zip(STRUCTURE_IDS, meshes, strict=True)),
        atlas_input=atlas[0, 0].numpy(),
    )
    return folder / name


@torch.no_grad()
def registration_map() -> npt.NDArray[np.float32]:
    """Give the map of the crop: the convolution written out, for patient and atlas together."""
    network, atlas = _network_and_atlas()
    state = network.state_dict()
    weight, bias = state["encoders.0.first.conv.weight"], state["encoders.0.first.conv.bias"]
    activation: npt.NDArray[np.float32] = torch.conv3d(torch.cat([patient(), atlas], 1), weight, bias, padding=1)[
        0
    ].numpy()
    return activation


def _segnet() -> PublishedSegNet:
    """Give a segmentation network of width 4."""
    network = PublishedSegNet(base_width=4)
    network.load_state_dict(formula_state(network))
    return network.eval()


def write_segmentation_bundle(folder: Path, name: str) -> Path:
    """Write the bundle of the segmentation network as an import does."""
    return write_segnet_bundle(
        folder,
        _segnet(),
        name=name,
        version="1",
        structures=STRUCTURE_IDS,
        frame=CanonicalFrame(GRID, 0.2, "LPS", "left", {}),
        intensity=AsStored(),
        training=TrainingSection(data="None.", details={"method": "segnet"}),
        segmentation=SegmentationSection(pieces="all"),
    )


@torch.no_grad()
def segmentation_map() -> npt.NDArray[np.float32]:
    """Give the map of the crop: the convolution written out."""
    state = _segnet().state_dict()
    weight, bias = state["encoder_upper.first.weight"], state["encoder_upper.first.bias"]
    activation: npt.NDArray[np.float32] = torch.conv3d(patient(), weight, bias, padding=1)[0].numpy()
    return activation


def write_release_maps(folder: Path) -> Path:
    """Write `data/activation_maps` of two methods, one case each, and give its path."""
    save_map(folder / "chamfer", "case01", registration_map())
    save_map(folder / "segnet", "case01", segmentation_map())
    return folder
