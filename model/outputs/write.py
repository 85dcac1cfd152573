"""Writing a result: meshes, masks, field (of a registration), report, picture and archive, complete or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.masks.labels import label_map
from model.meshes.formats import check_mesh_format
from model.outputs.archive import write_archive
from model.outputs.displacement import DISPLACEMENT_NAME, write_displacement
from model.outputs.facts import build_report
from model.outputs.patient_masks import patient_masks
from model.outputs.preview import draw_preview
from model.outputs.publish import published_folder
from model.outputs.report import ResultReport
from model.outputs.seg_nrrd import write_seg_nrrd
from model.outputs.segmentation import Segmentation
from model.outputs.store import STORE_NAME, MeshStore
from model.volumes.write import write_nifti

Progress = Callable[[str, float], None]
"""Called with the name of a stage and the part of it that is done, 0 to 1."""

DEFAULT_FORMATS: tuple[str, ...] = ("vtk", "stl")
REPORT_NAME = "report.json"
_NIFTI_INTENT_LABEL = 1002
_MASK_DESCRIPTION = "1: at least half of the voxel is inside"
_PROBABLE_MASK_DESCRIPTION = "1: mean probability in the voxel above 0.5"


def write_results(
    segmentation: Segmentation,
    out: Path,
    *,
    mesh_formats: Sequence[str] = DEFAULT_FORMATS,
    progress: Progress | None = None,
) -> Mapping[str, npt.NDArray[np.bool_]]:
    """Write all files of a result into a folder, which holds a complete result afterwards or is left as it was.

    Files: `meshes/<structure>.<format>`, `masks/<structure>.nii.gz`, `masks/labels.nii.gz`,
    `masks/segmentation.seg.nrrd`, `displacement.nii.gz`, `report.json`, `preview.png`, `manifest.json`, `archive.zip`,
    and `meshes.npz`, from which `render_mesh` makes other mesh files. Masks lie on the grid of the patient's image.
    Results of segmentation networks have no `displacement.nii.gz`. A structure that was not found has an empty mask and
    no mesh.

    Args:
        segmentation: the segmented ear.
        out: folder to make; a new or empty one, or one with an earlier result, whose files are replaced.
        mesh_formats: mesh files to write, of `MESH_FORMATS`, each in its default space.
        progress: told about the stages `mask` and `write`.

    Returns:
        The masks: bool [i, j, k] on the grid of the image, by structure id.

    Raises:
        OptionError: when a format is unknown or `out` holds something else.
        MeshError: when a surface is not closed.
    """
    formats = tuple(dict.fromkeys(check_mesh_format(fmt) for fmt in mesh_formats))
    report_progress = progress if progress is not None else _ignore
    with published_folder(out, REPORT_NAME, may_be_absent=(DISPLACEMENT_NAME,)) as folder:
        report_progress("mask", 0.0)
        start = time.perf_counter()
        masks = patient_masks(segmentation)
        timings = {"mask": time.perf_counter() - start}
        report_progress("mask", 1.0)
        start = time.perf_counter()
        steps: list[Callable[[], None]] = [
            lambda: _write_meshes(segmentation, folder, formats),
            lambda: _write_masks(segmentation, masks, folder / "masks"),
        ]
        if segmentation.ddf_ijk is not None:
            steps.append(lambda: write_displacement(segmentation, folder / DISPLACEMENT_NAME))
        for done, step in enumerate(steps):
            report_progress("write", done / (len(steps) + 1))
            step()
        report = build_report(segmentation, masks, timings)
        _write_preview(segmentation, report, folder / "preview.png")
        timings["write"] = time.perf_counter() - start  # but for the archive, which holds the report
        final = report.model_copy(update={"timings_s": {**report.timings_s, "write": round(timings["write"], 3)}})
        (folder / REPORT_NAME).write_text(final.model_dump_json(indent=1) + "\n", encoding="utf-8")
        report_progress("write", len(steps) / (len(steps) + 1))
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        write_archive(folder, [name for name in names if name != STORE_NAME])
    report_progress("write", 1.0)
    return masks


def _ignore(stage: str, fraction: float) -> None:
    """Take no notice of progress."""


def _write_meshes(segmentation: Segmentation, folder: Path, formats: Sequence[str]) -> None:
    """Write the store and the mesh files."""
    store = MeshStore(segmentation.meshes_ras, segmentation.volume.affine, segmentation.volume.shape)
    store.write(folder / STORE_NAME)
    (folder / "meshes").mkdir()
    for structure_id in segmentation.meshes_ras:
        for fmt in formats:
            store.write_mesh(structure_id, folder / "meshes" / f"{structure_id}.{fmt}", fmt)


def _write_masks(segmentation: Segmentation, masks: Mapping[str, npt.NDArray[np.bool_]], folder: Path) -> None:
    """Write one mask per structure, the label map and the segmentation of 3D Slicer."""
    folder.mkdir()
    volume = segmentation.volume
    for structure_id, mask in masks.items():
        write_nifti(
            folder / f"{structure_id}.nii.gz",
            mask.view(np.uint8),
            volume.affine,
            like=volume,
            description=_MASK_DESCRIPTION if segmentation.probability is None else _PROBABLE_MASK_DESCRIPTION,
        )
    write_nifti(
        folder / "labels.nii.gz",
        label_map(masks),
        volume.affine,
        like=volume,
        intent=_NIFTI_INTENT_LABEL,
        description="1 MD, 2 ST, 3 SV, 4 CC; inner structures win",
    )
    write_seg_nrrd(folder / "segmentation.seg.nrrd", masks, volume.affine)


def _write_preview(segmentation: Segmentation, report: ResultReport, path: Path) -> None:
    """Draw the picture with the report's main figures."""
    side = segmentation.alignment.side
    shown = ", mirrored into the frame of a left ear" if segmentation.alignment.mirrored else ""
    volumes = "   ".join(
        f"{facts.name} {facts.mesh_volume_mm3:.1f} mm3" if facts.vertices else f"{facts.name} not found"
        for facts in report.structures
    )
    conspicuous = [check.reason for check in report.quality.checks if check.verdict != "pass"]
    remark = f": {conspicuous[0]}" if conspicuous else ""
    draw_preview(
        segmentation.canonical_image,
        segmentation.meshes_canonical_ijk(),
        path,
        title=f"{side.capitalize()} ear{shown}",
        subtitle=f"model {report.model.name} {report.model.version}   checks: {report.quality.verdict}{remark}",
        footer=f"{volumes}        {report.intended_use}",
    )
