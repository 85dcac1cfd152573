"""A tiny release in the published layout, made on the fly, with what the published program would compute from it."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from bundle_fixtures import sphere
from published_case import formula_state, formula_values

from model.meshes.mesh import SurfaceMesh
from model.meshes.published import encode_published
from model.networks.published import PublishedRegistrationNet
from model.networks.segnet import PublishedSegNet
from model.release.names import SEGNET_LAYERS, registration_layers

FloatImage = npt.NDArray[np.float32]

GRID = (28, 32, 40)
CENTRE = (14, 15, 20)
RADII = {"MD": 2.0, "ST": 3.0, "SV": 2.5, "CC": 8.0}
EXPERIMENTS = {
    "chamfer": "Exp_task16-kcl-chamfer-reg4p0-post_1",
    "p2p": "Exp_task06-kcl-p2p-reg4p0-post_1",
    "dice": "Exp_task51-kcl-chamfer0-dice-mse0-cc0-reg4p0-post_1",
    "segnet": "Exp_shared_skip_unet_cochlear_post_1",
}


@dataclass(frozen=True)
class TinyRelease:
    """The folder of a release: narrow networks, spheres for structures, an image for the atlas.

    All registration methods have the same weights, the atlas has a map for chamfer only, and the labyrinth is wound
    inward.
    """

    folder: Path

    @property
    def atlas(self) -> Path:
        """The folder of the atlas."""
        return self.folder / "data" / "atlas"

    def checkpoint(self, method: str) -> Path:
        """Give the weights of a method."""
        return self.folder / "checkpoints" / EXPERIMENTS[method] / "checkpoints" / "best.pth"

    @property
    def ear(self) -> Path:
        """A prepared crop."""
        return self.folder / "ear.nii.gz"

    @cached_property
    def patient(self) -> FloatImage:
        """Values of the crop."""
        return formula_values("patient", GRID, 0.9).numpy()

    @cached_property
    def vertices(self) -> npt.NDArray[np.float32]:
        """All (N, 3) vertices of the atlas, in crop voxels."""
        return np.concatenate([mesh.vertices for mesh in surfaces().values()]).astype(np.float32)

    @cached_property
    def ddf(self) -> FloatImage:
        """The (3, I, J, K) field of the registration networks for the crop."""
        atlas = torch.from_numpy(_scaled(_atlas_image()))[None, None]
        with torch.no_grad():
            field: FloatImage = registration_network()(torch.from_numpy(self.patient)[None, None], atlas)[0].numpy()
        return field

    @cached_property
    def expected(self) -> npt.NDArray[np.float64]:
        """All (N, 3) vertices in the crop, in voxels, by the published sampler."""
        return self.vertices + published_samples(self.ddf, self.vertices)

    @cached_property
    def logits(self) -> FloatImage:
        """The (4, I, J, K) output of the segmentation network for the crop."""
        with torch.no_grad():
            values: FloatImage = segmentation_network()(torch.from_numpy(self.patient)[None, None])[0].numpy()
        return values


def write_release(folder: Path) -> TinyRelease:
    """Write a tiny release."""
    release = TinyRelease(folder)
    for method in EXPERIMENTS:
        release.checkpoint(method).parent.mkdir(parents=True)
        state = published_segnet_state() if method == "segnet" else published_state(registration_network())
        torch.save({"model": state, "optimizer": {"lr": 1e-3}}, release.checkpoint(method))
    release.atlas.mkdir(parents=True)
    for code, mesh in surfaces().items():
        wound = mesh.flipped() if code == "CC" else mesh
        (release.atlas / f"atlas_{code}.mesh").write_bytes(encode_published(wound, colour=(255, 0, 0)))
    (release.atlas / "atlas_all_vtx.pkl").write_bytes(pickle.dumps(release.vertices))
    image = torch.from_numpy(_scaled(_atlas_image()))[None, None]
    with torch.no_grad():
        activation = registration_network().first_activation(torch.zeros_like(image), image)[0].numpy()
    save_nifti(release.atlas / "atlas_activation_map_chamfer.nii.gz", activation)
    save_nifti(release.ear, release.patient, np.diag([-0.2, -0.2, 0.2, 1.0]))
    return release


def write_atlas_image(release: TinyRelease) -> None:
    """Add the atlas image, which the published release does not have."""
    save_nifti(release.atlas / "atlas.nii.gz", _atlas_image(), np.diag([-0.2, -0.2, 0.2, 1.0]))


def save_nifti(path: Path, values: FloatImage, affine: npt.ArrayLike | None = None) -> None:
    """Write an image; without an affine as the release writes activation maps."""
    nibabel.Nifti1Image(values, np.eye(4) if affine is None else np.asarray(affine)).to_filename(path)


def surfaces() -> dict[str, SurfaceMesh]:
    """Give the surfaces by published code, wound outward."""
    return {code: sphere(CENTRE, radius) for code, radius in RADII.items()}


def registration_network() -> PublishedRegistrationNet:
    """Give the registration network."""
    network = PublishedRegistrationNet(base_width=4, levels=2)
    network.load_state_dict(formula_state(network))
    return network.eval()


def segmentation_network() -> PublishedSegNet:
    """Give the segmentation network."""
    network = PublishedSegNet(base_width=4)
    network.load_state_dict(formula_state(network))
    return network.eval()


def published_state(network: PublishedRegistrationNet) -> dict[str, torch.Tensor]:
    """Give the state of a registration network under published names."""
    state = network.state_dict()
    theirs = {ours: theirs for theirs, ours in registration_layers(network.levels).items()}
    return {"ddf_bias": state.pop("field_bias"), **_renamed(state, theirs)}


def published_segnet_state() -> dict[str, torch.Tensor]:
    """Give the state of the segmentation network under published names."""
    return _renamed(segmentation_network().state_dict(), {ours: theirs for theirs, ours in SEGNET_LAYERS.items()})


def published_samples(field: FloatImage, points_ijk: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Read a (3, I, J, K) field at (N, 3) points as the published sampler does, one point and corner at a time.

    Points are held within [0, size - 2] and cells within [1, size - 3]; the weights of axes 0 and 1 are exchanged.
    """
    size = np.array(field.shape[1:])
    result = []
    for point in np.asarray(points_ijk, dtype=np.float64):
        held = np.clip(point, 0, size - 2)
        cell = np.clip(np.floor(held).astype(int), 1, size - 3)
        along_j, along_i, along_k = held - cell
        total = np.zeros(3)
        for i, j, k in itertools.product((0, 1), repeat=3):
            weight = np.prod([(a if step else 1 - a) for a, step in ((along_i, i), (along_j, j), (along_k, k))])
            total += weight * field[:, cell[0] + i, cell[1] + j, cell[2] + k]
        result.append(total)
    return np.array(result)


def _renamed(state: dict[str, torch.Tensor], theirs: dict[str, str]) -> dict[str, torch.Tensor]:
    """Give tensors under the published names of their layers."""
    renamed = {}
    for name, tensor in state.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{theirs[layer]}.{kind}"] = tensor
    return renamed


def _atlas_image() -> FloatImage:
    """Give the atlas image as it is stored."""
    return formula_values("atlas", GRID, 900.0, 700.0).numpy()


def _scaled(image: FloatImage) -> FloatImage:
    """Give an image from -1 to 1."""
    return np.asarray(np.interp(image, [image.min(), image.max()], [-1.0, 1.0]), dtype=np.float32)
