"""Collecting the report of a result from what the run, the image and the surfaces say."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from typing import cast

import nibabel
import numpy as np
import numpy.typing as npt

from model.meshes.mesh import FloatArray, SurfaceMesh
from model.outputs.quality import check_quality
from model.outputs.report import (
    AlignmentFacts,
    InputFacts,
    ResultReport,
    RunFacts,
    StructureFacts,
)
from model.outputs.segmentation import Segmentation
from model.structures import STRUCTURES, Structure
from model.volumes.volume import Volume

_PACKAGES = ("cochlear", "numpy", "scipy", "torch", "nibabel", "vtk")


def build_report(
    segmentation: Segmentation, masks: Mapping[str, npt.NDArray[np.bool_]], timings_s: Mapping[str, float]
) -> ResultReport:
    """Build the report of a result.

    Args:
        segmentation: the segmented ear; its `report` holds the `RunFacts`.
        masks: bool arrays on the grid of the image, by structure id.
        timings_s: seconds of the stages after the run, added to the run's own.

    Raises:
        pydantic.ValidationError: when `segmentation.report` does not hold the `RunFacts`.
    """
    run = RunFacts.model_validate(dict(segmentation.report))
    timings = {**run.timings_s, **timings_s}
    warnings = list(dict.fromkeys([*segmentation.volume.warnings, *run.warnings]))
    return ResultReport(
        model=run.model,
        software=software_versions(),
        device=run.device,
        input=_input_facts(segmentation.volume, run),
        alignment=_alignment_facts(segmentation),
        structures=[
            _structure_facts(
                structure, segmentation.meshes_ras.get(structure.id), masks[structure.id], segmentation.volume
            )
            for structure in STRUCTURES
            if structure.id in segmentation.structure_ids
        ],
        quality=check_quality(segmentation),
        timings_s={stage: round(seconds, 3) for stage, seconds in timings.items()},
        warnings=warnings,
    )


def software_versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that take part; missing packages are left out."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def volume_centroid(mesh: SurfaceMesh) -> FloatArray:
    """Give the centroid of what a closed surface encloses, in its own space (signed tetrahedra)."""
    reference = mesh.vertices.mean(axis=0)
    a, b, c = (mesh.vertices[mesh.triangles[:, corner]] - reference for corner in range(3))
    volumes = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0
    return np.asarray(reference + ((a + b + c) / 4.0 * volumes[:, None]).sum(axis=0) / volumes.sum())


def _input_facts(volume: Volume, run: RunFacts) -> InputFacts:
    i, j, k = (round(size, 6) for size in volume.spacing_mm)
    return InputFacts(
        kind=run.kind,
        shape=volume.shape,
        spacing_mm=(i, j, k),
        orientation="".join(cast("tuple[str, ...]", nibabel.aff2axcodes(volume.affine))),
        affine=volume.affine.tolist(),
        data_type=str(volume.header.get_data_dtype()),
        qform_code=int(volume.header["qform_code"]),
        sform_code=int(volume.header["sform_code"]),
    )


def _alignment_facts(segmentation: Segmentation) -> AlignmentFacts:
    alignment = segmentation.alignment
    return AlignmentFacts(
        side=alignment.side,
        mirrored=alignment.mirrored,
        method=alignment.method,
        residual_mm=alignment.residual_mm,
        landmark_residuals_mm=dict(alignment.landmark_residuals_mm),
        ras_to_canonical=alignment.ras_to_canonical.tolist(),
    )


def _structure_facts(
    structure: Structure, mesh_ras: SurfaceMesh | None, mask: npt.NDArray[np.bool_], volume: Volume
) -> StructureFacts:
    voxels = int(np.count_nonzero(mask))
    voxel_mm3 = float(abs(np.linalg.det(volume.affine[:3, :3])))
    centroid = None
    if mesh_ras is not None:
        r, a, s = (round(float(value), 4) for value in volume_centroid(mesh_ras))
        centroid = (r, a, s)
    return StructureFacts(
        id=structure.id,
        code=structure.code,
        label=structure.label,
        name=structure.name,
        vertices=0 if mesh_ras is None else len(mesh_ras.vertices),
        triangles=0 if mesh_ras is None else len(mesh_ras.triangles),
        mesh_volume_mm3=0.0 if mesh_ras is None else round(mesh_ras.signed_volume, 4),
        mask_volume_mm3=round(voxels * voxel_mm3, 4),
        mask_voxels=voxels,
        centroid_ras=centroid,
    )
