"""A synthetic ear: CT with known anatomy, from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from model.meshes.mesh import SurfaceMesh
from model.synthesis.deformation import Deformation, DeformationOptions, random_deformation
from model.synthesis.electrode import ElectrodeArray, array_facts
from model.synthesis.grid import Float32Array, FloatArray, RenderGrid
from model.synthesis.implant import BoolArray, draw_implant, metal_mask
from model.synthesis.metal import MetalParameters
from model.synthesis.scanner import blur, correlated_noise, field_of_view, finish, random_scanner
from model.synthesis.template import TissueTemplate, build_template
from model.synthesis.tissue import random_tissue, render_tissue


@dataclass(frozen=True)
class EarOptions:
    """What kind of ears to make.

    Attributes:
        spacing_mm: voxel size of the image: 0.2 (128³) or 0.4 (64³); the anatomy of a seed is the same at both.
        implant_share: share of ears with an implant, 0 to 1.
        drained_share: share of ears whose labyrinth holds air.
        full_field_share: share of images without a field-of-view border inside the crop.
        deformation: how much ears differ.
        modes: (M, 3, g, g, g) shape modes, see `random_deformation`, or None.
        with_ddf: whether to compute the dense displacement field.
    """

    spacing_mm: float = 0.2
    implant_share: float = 0.5
    drained_share: float = 0.4
    full_field_share: float = 0.4
    deformation: DeformationOptions = field(default_factory=DeformationOptions)
    modes: npt.NDArray[np.floating] | None = None
    with_ddf: bool = True


@dataclass(frozen=True)
class SyntheticEar:
    """One ear and its truth.

    Attributes:
        image_hu: (n, n, n) float32 HU, -1024 outside the field of view, indexed [i, j, k] = L, P, S of a left ear.
        to_canonical: (4, 4) affine from image indices to canonical ijk (the identity at 0.2 mm).
        vertices_ijk: structure id to (N, 3) true positions of the atlas vertices, canonical ijk.
        deformation: the map from the atlas to this ear.
        ddf_ijk: (3, n, n, n) float32 forward displacement, canonical voxels, at the image's voxel centres; None when it
            was not asked for.
        seen: (n, n, n) bool, the field of view.
        metal: (n, n, n) bool, voxels that hold metal.
        contacts_ijk: (c, 3) electrode contacts, the most apical first; (0, 3) without implant.
        seed: what the ear was made from.
        parameters: everything that was drawn, for records (plain JSON values).
    """

    image_hu: Float32Array
    to_canonical: FloatArray
    vertices_ijk: Mapping[str, FloatArray]
    deformation: Deformation
    ddf_ijk: Float32Array | None
    seen: BoolArray
    metal: BoolArray
    contacts_ijk: FloatArray
    seed: int
    parameters: Mapping[str, Any]


def synthesize_ear(
    atlas: Mapping[str, SurfaceMesh],
    seed: int,
    options: EarOptions | None = None,
    template: TissueTemplate | None = None,
) -> SyntheticEar:
    """Make one ear.

    Anatomy, tissue, scanner and implant are drawn independently, so a seed has the same anatomy with and without
    implant and at every spacing.

    Args:
        atlas: structure id to closed surface in canonical ijk; the scalae carry `angle_deg`.
        seed: the same seed, atlas and options give the same ear.
        options: what kind of ear.
        template: `build_template(atlas)`, when many ears are made of one atlas.

    Raises:
        OptionError: when the spacing is not offered.
        ValueError: when the atlas cannot be rendered.
    """
    options = options or EarOptions()
    template = template or build_template(atlas)
    grid = RenderGrid.of_spacing(options.spacing_mm)
    shape_rng, tissue_rng, scanner_rng, implant_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)
    )
    deformation = random_deformation(shape_rng, options.deformation, options.modes)
    meshes = {name: mesh.with_vertices(deformation.displace(mesh.vertices)) for name, mesh in atlas.items()}
    tissue = random_tissue(tissue_rng, options.drained_share)
    scanner = random_scanner(scanner_rng, options.full_field_share)
    image = blur(render_tissue(template, deformation, tissue, tissue_rng, grid), scanner, grid)
    parameters: dict[str, Any] = {"tissue": tissue.to_json(), "scanner": scanner.to_json(), "implant": None}
    metal, contacts = np.zeros(image.shape, dtype=bool), np.zeros((0, 3))
    if implant_rng.uniform() < options.implant_share:
        array, acquisition, artifact = draw_implant(meshes, implant_rng, image, scanner, grid)
        image += artifact
        metal, contacts = metal_mask(array, grid), array.contacts_ijk
        parameters["implant"] = implant_record(array, acquisition)
    image += correlated_noise(scanner_rng, scanner, grid)
    return SyntheticEar(
        image_hu=finish(image, scanner, grid),
        to_canonical=grid.to_canonical,
        vertices_ijk={name: mesh.vertices for name, mesh in meshes.items()},
        deformation=deformation,
        ddf_ijk=deformation.ddf(grid) if options.with_ddf else None,
        seen=field_of_view(scanner, grid),
        metal=metal,
        contacts_ijk=contacts,
        seed=seed,
        parameters=parameters,
    )


def implant_record(array: ElectrodeArray, acquisition: MetalParameters) -> dict[str, Any]:
    """Give what is worth recording of an implant, as plain JSON values."""
    return {**array_facts(array), "acquisition": acquisition.to_json()}
