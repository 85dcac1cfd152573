"""A model as it is loaded from its bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.bundle.arrays import ArraySpec, check_arrays, read_array, tensor_shapes
from model.bundle.atlas_file import check_atlas, read_atlas
from model.bundle.layout import ATLAS_INPUT, WEIGHTS_FILE, atlas_input_file
from model.bundle.manifest_file import bundle_digest, check_files, damaged, read_manifest
from model.bundle.schema import BundleManifest
from model.errors import BundleError
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.registration.rules import SamplerRule
from model.volumes.intensity import IntensityRule


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; what is large is read when first asked for.

    Attributes:
        path: its folder.
        manifest: all that `bundle.json` states.
        digest: SHA-256 of `bundle.json`, which stands for the whole bundle.
        surfaces_ijk: the surfaces of the atlas, see `atlas_meshes_ijk`; None when the bundle has no atlas.
    """

    path: Path
    manifest: BundleManifest
    digest: str
    surfaces_ijk: Mapping[str, SurfaceMesh] | None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.manifest.version

    @property
    def structure_ids(self) -> tuple[str, ...]:
        """Ids of the structures that the model gives, in the manifest's order."""
        return tuple(structure.id for structure in self.manifest.structures)

    @property
    def atlas_meshes_ijk(self) -> Mapping[str, SurfaceMesh]:
        """Closed surfaces of the atlas in voxels of the canonical frame by structure id, in order, wound outward.

        Raises:
            BundleError: the bundle has no atlas.
        """
        if self.surfaces_ijk is None:
            raise self._no_atlas()
        return self.surfaces_ijk

    @property
    def sampler(self) -> SamplerRule:
        """Rule by which vertices read the displacement field."""
        return self.manifest.sampler

    @property
    def weights_path(self) -> Path:
        """The safetensors file of the network."""
        return self.path / WEIGHTS_FILE

    @cached_property
    def frame(self) -> CanonicalFrame:
        """The canonical frame of the atlas."""
        return CanonicalFrame.from_json(self.manifest.frame.model_dump())

    @cached_property
    def intensity(self) -> IntensityRule:
        """How image values become network input."""
        return IntensityRule.from_json(self.manifest.intensity.model_dump(exclude_none=True))

    def atlas_input(self) -> npt.NDArray[np.float32]:
        """Read what the network gets of the atlas: (1, I, J, K) image, or (C, I, J, K) first activation.

        Raises:
            BundleError: the bundle has no atlas, or its publisher withholds it.
        """
        if not self.manifest.has_atlas:
            raise self._no_atlas()
        check_takes_images(self.manifest)
        file = self.path / atlas_input_file(self.manifest.network.input.atlas)
        values: npt.NDArray[np.float32] = read_array(file, ATLAS_INPUT).astype(np.float32)
        return values if values.ndim == 4 else values[None]

    def atlas_image(self) -> npt.NDArray[np.float32]:
        """Read the atlas image, float32 [i, j, k] in [-1, 1].

        Raises:
            BundleError: the bundle holds the first activation instead, or nothing of the image, or has no atlas.
        """
        if self.manifest.network.input.atlas == "activation":
            raise BundleError(
                "this bundle has no atlas image",
                expected="a bundle with an atlas image",
                found="one with the first activation of the network",
                field="bundle",
            )
        image: npt.NDArray[np.float32] = self.atlas_input()[0]
        return image

    def _no_atlas(self) -> BundleError:
        """Make the error for those who need an atlas that is not there."""
        return BundleError(
            "this bundle has no atlas",
            expected="a bundle of a registration network",
            found=f"the segmentation network of {self.name}",
            field="bundle",
        )


def check_takes_images(manifest: BundleManifest) -> None:
    """Refuse a model that computes from the activation maps of cases only.

    Raises:
        BundleError: the bundle has nothing of the atlas image, so no image can be registered to it.
    """
    if manifest.has_atlas and not manifest.has_atlas_input:
        raise BundleError(
            "this model takes activation maps only, as the image of its atlas is not published",
            expected="a model with an atlas image or the first activation of it",
            found=manifest.name,
            hint="recompute cases from their activation maps, or choose another model",
            field="bundle",
        )


def verify_bundle(path: Path) -> BundleManifest:
    """Check a bundle: digests of all files, counts and shapes.

    Raises:
        DamagedBundleError: naming the file and the mismatch.
    """
    manifest = read_manifest(path)
    check_files(path, manifest)
    _check_weights(path, manifest)
    if manifest.has_atlas:
        check_atlas(path, manifest)
    if manifest.has_atlas_input:
        _check_atlas_input(path, manifest)
    return manifest


def load_bundle(path: Path) -> Bundle:
    """Verify a bundle and read its atlas.

    Args:
        path: folder of the bundle, as `find_bundle` gives it.

    Raises:
        DamagedBundleError: naming the file and the mismatch.
    """
    digest = bundle_digest(path)
    manifest = verify_bundle(path)
    return Bundle(path, manifest, digest, read_atlas(path, manifest) if manifest.has_atlas else None)


def _check_weights(path: Path, manifest: BundleManifest) -> None:
    """Check number and size of the tensors."""
    shapes = tensor_shapes(path / WEIGHTS_FILE)
    found = (len(shapes), sum(math.prod(shape) for shape in shapes.values()))
    wanted = (manifest.weights.tensors, manifest.weights.values)
    if found != wanted:
        raise damaged(
            WEIGHTS_FILE, f"{found[0]} of {found[1]}", expected=f"{wanted[0]} tensors of {wanted[1]} values in all"
        )


def _check_atlas_input(path: Path, manifest: BundleManifest) -> None:
    """Check that the atlas image or activation lies on the grid of the frame."""
    file = path / atlas_input_file(manifest.network.input.atlas)
    channels = (None,) if manifest.network.input.atlas == "activation" else ()
    check_arrays(file, {ATLAS_INPUT: ArraySpec((*channels, *manifest.frame.grid), ("float16", "float32"))})
