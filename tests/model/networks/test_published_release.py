"""Our networks compute what the published program computes, from its own files."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import torch
from support import shared_path
from torch import Tensor

from model.networks.published import PublishedRegistrationNet
from model.networks.segnet import PublishedSegNet
from model.registration.warp import warp_vertices
from model.release.atlas_files import scale_atlas_image
from model.release.image_files import read_release_image
from model.release.names import rename_registration, rename_segnet
from model.release.pickled_array import read_pickled_array
from model.release.torch_file import read_state_dict

EXPERIMENTS = {
    "chamfer": "Exp_task16-kcl-chamfer-reg4p0-post_1",
    "p2p": "Exp_task06-kcl-p2p-reg4p0-post_1",
    "segnet": "Exp_shared_skip_unet_cochlear_post_1",
}
METHODS = ["chamfer", "p2p"]


def read_image(name: str) -> Tensor:
    """Give an image or activation map of the release as (1, C, I, J, K)."""
    values = read_release_image(shared_path("release") / name)
    return torch.from_numpy(values if values.ndim == 4 else values[None])[None]


@cache
def expected() -> dict[str, npt.NDArray[np.float32]]:
    """Give what the published program computes."""
    with np.load(shared_path("release/expected.npz")) as arrays:
        return dict(arrays)


@cache
def network(method: str) -> PublishedRegistrationNet:
    """Give the network with the published weights."""
    made = PublishedRegistrationNet()
    made.load_state_dict(rename_registration(read_state_dict(shared_path("release/checkpoints") / EXPERIMENTS[method])))
    return made.eval()


def atlas_image() -> Tensor:
    """Give the atlas image as the networks saw it."""
    return torch.from_numpy(scale_atlas_image(read_image("data/atlas/atlas.nii.gz").numpy()))


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
def test_ddf_from_atlas_image(method: str) -> None:
    ddf = network(method)(read_image("ear.nii.gz"), atlas_image())[0]
    np.testing.assert_allclose(ddf.numpy(), expected()[f"{method}_ddf"], atol=1e-4)


@torch.no_grad()
def test_ddf_from_atlas_activation() -> None:
    activation = read_image("data/atlas/atlas_activation_map_chamfer.nii.gz")
    ddf = network("chamfer")(read_image("ear.nii.gz"), activation)[0]
    np.testing.assert_allclose(ddf.numpy(), expected()["chamfer_ddf"], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
def test_ddf_from_activation_of_case(method: str) -> None:
    activation = read_image(f"data/activation_maps/{method}/case01.nii.gz")
    ddf = network(method).field_from_activation(activation)[0]
    np.testing.assert_allclose(ddf.numpy(), expected()[f"{method}_ddf"], atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_vertices_by_published_rule(method: str) -> None:
    atlas = torch.from_numpy(read_pickled_array(shared_path("release/data/atlas/atlas_all_vtx.pkl")))
    ddf = torch.from_numpy(expected()[f"{method}_ddf"])
    vertices = warp_vertices(atlas, ddf, "published").numpy()
    np.testing.assert_allclose(vertices, expected()[f"{method}_vertices"], atol=1e-4)
    assert np.abs(warp_vertices(atlas, ddf, "trilinear").numpy() - vertices).max() > 0.1


@torch.no_grad()
def test_segnet_logits() -> None:
    made = PublishedSegNet()
    made.load_state_dict(rename_segnet(read_state_dict(shared_path("release/checkpoints") / EXPERIMENTS["segnet"])))
    logits = made.eval()(read_image("ear.nii.gz"))[0]
    np.testing.assert_allclose(logits.numpy(), expected()["segnet_logits"], atol=1e-4)
