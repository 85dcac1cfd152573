"""Insert a cochlear implant into the CT of a real ear, on the image's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_opening

from model.errors import ImageError
from model.geometry.alignment import Alignment
from model.geometry.spaces import apply_affine
from model.meshes.mesh import SurfaceMesh
from model.synthesis.carrier import carrier_change
from model.synthesis.designs import ArrayDesign, Maker, draw_design
from model.synthesis.electrode import ElectrodeArray, array_facts, insert_array
from model.synthesis.grid import FloatArray
from model.synthesis.implant import BoolArray, metal_voxels
from model.synthesis.metal import MetalParameters, metal_artifact, random_metal
from model.synthesis.scan import ImageScan, scan_of_image
from model.synthesis.scanner import HU_MAX, HU_MIN
from model.synthesis.sinogram import Surrounding
from model.volumes.intensity import in_stored_range
from model.volumes.volume import Volume

VIEWS = 360
_FWHM_MM = 0.45
_LEAST_HU = 0.5


@dataclass(frozen=True)
class InsertedImplant:
    """A CT with an inserted implant.

    Attributes:
        image_hu: int16 [i, j, k] on the grid and affine of the image it was inserted into; as that one wherever
            `changed` is False.
        changed: bool [i, j, k], voxels whose value differs.
        metal: bool [i, j, k], voxels that hold a contact or a wire.
        array: the array, canonical ijk.
        contacts_ras: (n, 3) contact centres, RAS mm, the most apical first.
        acquisition: what shaped the artifact.
        scan: the image's slices.
        seed: what it was made from.
    """

    image_hu: npt.NDArray[np.int16]
    changed: BoolArray
    metal: BoolArray
    array: ElectrodeArray
    contacts_ras: FloatArray
    acquisition: MetalParameters
    scan: ImageScan
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Give the facts about the implant as plain JSON values."""
        return {
            "seed": self.seed,
            **array_facts(self.array),
            "contacts_ras": np.round(self.contacts_ras, 4).tolist(),
            "slice_axis": self.scan.axis,
            "acquisition": self.acquisition.to_json(),
        }


def insert_implant(
    volume: Volume,
    meshes: Mapping[str, SurfaceMesh],
    alignment: Alignment,
    seed: int,
    *,
    design: ArrayDesign | None = None,
    maker: Maker | None = None,
    slice_axis: int | None = None,
) -> InsertedImplant:
    """Insert a random electrode array into a CT along the ear's scala tympani.

    The artifact is made slice by slice of the image, from the beam through metal, the bone and soft tissue of the image
    and a head; it is added where the image was measured, and values end at 3071 HU. Within 18.2 mm of the centre of the
    canonical crop (across the slices) it fades out; beyond, and in slices without metal, nothing changes.

    Args:
        volume: raw CT in HU.
        meshes: modiolus and scala tympani (with `angle_deg`) of this ear, in canonical ijk.
        alignment: where the canonical frame lies in the patient; mirrors right ears.
        seed: the same seed gives the same implant, in whatever order the image stores its axes.
        design: the array; None draws one.
        maker: draws among the arrays of one maker.
        slice_axis: the array axis from slice to slice; None tells it from the spacing, see `scan.slice_axis`.

    Raises:
        ImageError: the image is no CT in HU, its axes are not at right angles, or the array lies outside it.
        OptionError: there is no such axis.
        ValueError: the scala carries no angles.
    """
    if in_stored_range(volume.data):
        raise ImageError(
            "an implant is inserted into raw CT only",
            expected="CT numbers in Hounsfield units",
            found="values from -1 to 1",
            field="image",
        )
    scan = scan_of_image(volume.affine, alignment.ras_to_canonical, volume.shape, slice_axis)
    to_canonical = np.asarray(alignment.ras_to_canonical @ volume.affine)
    rng = np.random.default_rng(seed)
    array = insert_array(meshes, rng, design or draw_design(rng, maker))
    _check_inside(array, to_canonical, volume)
    slices = scan.slices()
    acquisition = random_metal(rng, VIEWS, max(volume.spacing_mm[scan.axis], rng.uniform(0.4, 0.6)))
    surrounding = Surrounding(volume.data, np.asarray(np.linalg.inv(scan.from_image), dtype=np.float64))
    artifact = metal_artifact(array, scan.frame, slices, surrounding, acquisition, rng)
    change = scan.to_array(artifact)
    voxels, silicone = carrier_change(array, volume.data, to_canonical, _FWHM_MM)
    change[tuple(voxels.T)] += silicone
    changed = (np.abs(change) >= _LEAST_HU) & ~_unmeasured(volume.data)
    implanted = np.where(changed, np.clip(volume.data + change, HU_MIN, HU_MAX), volume.data)
    image_hu = np.clip(np.round(implanted), -32768, 32767).astype(np.int16)
    return InsertedImplant(
        image_hu=image_hu,
        changed=np.asarray(image_hu != np.round(volume.data)),
        metal=metal_voxels(array, to_canonical, volume.shape),
        array=array,
        contacts_ras=apply_affine(alignment.canonical_to_ras, array.contacts_ijk),
        acquisition=acquisition,
        scan=scan,
        seed=seed,
    )


def _check_inside(array: ElectrodeArray, to_canonical: FloatArray, volume: Volume) -> None:
    """Refuse an image that does not show the place of the contacts within the cochlea."""
    voxels = apply_affine(np.linalg.inv(to_canonical), array.contacts_ijk[array.inside])
    outside = np.any((voxels < -0.5) | (voxels > np.array(volume.shape) - 0.5), axis=1)
    if outside.any():
        raise ImageError(
            "the cochlea does not lie within the image",
            expected="a field of view that holds the whole cochlea",
            found=f"{int(outside.sum())} of {len(outside)} contacts outside",
            hint="check that image and landmarks belong together",
            field="image",
        )


def _unmeasured(image_hu: npt.NDArray[np.float32]) -> BoolArray:
    """Mark what lies outside the field of view: lowest values in blocks, where single ones are noise of air."""
    return np.asarray(binary_opening(image_hu <= HU_MIN, np.ones((3, 3, 3), dtype=bool)))
