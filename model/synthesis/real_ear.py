"""Real ears as backgrounds: the CT of a labelled ear bent, turned and rescaled at random, its truth carried along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from model.atlas.labelled_ears import LabelledEar
from model.geometry.frame import CanonicalFrame, Point
from model.geometry.landmarks import Landmarks
from model.geometry.spaces import apply_affine
from model.meshes.mesh import SurfaceMesh
from model.synthesis.deformation import random_deformation
from model.synthesis.ear import EarOptions, SyntheticEar, implant_record
from model.synthesis.grid import Float32Array, RenderGrid
from model.synthesis.implant import draw_implant, metal_mask
from model.synthesis.scanner import HU_MAX, HU_MIN, correlated_noise, random_scanner

_GRID = RenderGrid(1)
_AIR_HU = -1000.0
_CONTRAST = 0.05
_MOST_NOISE = 0.5
_WHOLLY_SEEN = 0.999


@dataclass(frozen=True)
class Background:
    """A real ear in the canonical crop with what is known of it.

    Attributes:
        name: of the ear.
        image_hu: (128, 128, 128) float32 HU.
        seen: bool of the same shape, the field of view.
        meshes_ijk: surfaces of all structures by id, canonical ijk; the scala tympani carries `angle_deg`.
        landmarks_ijk: its landmarks, canonical ijk.
    """

    name: str
    image_hu: Float32Array
    seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    meshes_ijk: Mapping[str, SurfaceMesh]
    landmarks_ijk: Mapping[str, Point]

    @classmethod
    def of_labelled(cls, ear: LabelledEar, landmarks: Landmarks, meshes_ijk: Mapping[str, SurfaceMesh]) -> Background:
        """Take a labelled ear with its landmarks and the atlas's surfaces as they were fitted to it."""
        to_canonical = ear.alignment.ras_to_canonical
        placed: dict[str, Point] = {}
        for name, point_ras in landmarks.points_ras.items():
            i, j, k = apply_affine(to_canonical, np.array([point_ras]))[0]
            placed[name] = (float(i), float(j), float(k))
        return cls(ear.name, ear.image_hu, ear.seen, meshes_ijk, placed)

    def frame(self, frame: CanonicalFrame) -> CanonicalFrame:
        """Give the frame with the landmarks of this ear in place of those of an average one."""
        return replace(frame, landmarks_ijk=self.landmarks_ijk)


def change_real_ear(background: Background, seed: int, options: EarOptions | None = None) -> SyntheticEar:
    """Make an ear from a real one.

    Shape and pose change as those of synthetic ears do, without shape modes: the ear has a shape of its own. Contrast
    changes about air, and noise is added, at most half as strong as a scanner's, since the image has its own. What the
    real scan did not see, or came from outside the crop, stays unseen.

    Args:
        background: the real ear.
        seed: the same seed, ear and options give the same result.
        options: of the deformation and the share of implants; an image has 0.2 mm voxels, filling and field of view are
            the ear's.

    Returns:
        The ear; its deformation maps the real ear to it.
    """
    options = options or EarOptions()
    shape_rng, look_rng, implant_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    deformation = random_deformation(shape_rng, options.deformation)
    source = deformation.to_atlas(_GRID)
    image = map_coordinates(background.image_hu, source, order=1, mode="nearest", output=np.float32)
    seen = map_coordinates(background.seen.astype(np.float32), source, order=1, mode="constant") > _WHOLLY_SEEN
    contrast = float(np.exp(look_rng.normal(0.0, _CONTRAST)))
    image = (image - np.float32(_AIR_HU)) * np.float32(contrast) + np.float32(_AIR_HU)
    scanner = random_scanner(look_rng)
    strength = float(look_rng.uniform(0.0, _MOST_NOISE))
    meshes = {
        name: mesh.with_vertices(deformation.displace(mesh.vertices)) for name, mesh in background.meshes_ijk.items()
    }
    parameters: dict[str, Any] = {"background": background.name, "contrast": contrast, "implant": None}
    metal, contacts = np.zeros(image.shape, dtype=bool), np.zeros((0, 3))
    if implant_rng.uniform() < options.implant_share:
        array, acquisition, artifact = draw_implant(meshes, implant_rng, image, scanner, _GRID)
        image += artifact
        metal, contacts = metal_mask(array, _GRID), array.contacts_ijk
        parameters["implant"] = implant_record(array, acquisition)
    image += np.float32(strength) * correlated_noise(look_rng, scanner, _GRID)
    parameters["noise_hu"] = strength * scanner.noise_hu
    return SyntheticEar(
        image_hu=np.where(seen, np.clip(image, HU_MIN, HU_MAX), HU_MIN).astype(np.float32),
        to_canonical=_GRID.to_canonical,
        vertices_ijk={name: mesh.vertices for name, mesh in meshes.items()},
        deformation=deformation,
        ddf_ijk=deformation.ddf(_GRID) if options.with_ddf else None,
        seen=seen,
        metal=metal,
        contacts_ijk=contacts,
        seed=seed,
        parameters=parameters,
    )
