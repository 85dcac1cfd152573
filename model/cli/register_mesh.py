"""`cochlear register-mesh`: the vertices of an atlas surface onto a patient's surface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.batch import Item, find_items, run_items
from model.cli.grids import GridChoice, GridOption, SpacingOption
from model.cli.progress import progress_bar
from model.errors import OptionError
from model.meshes.convert import to_space
from model.meshes.formats import MESH_FORMATS, read_mesh, write_mesh
from model.meshes.mesh import SurfaceMesh
from model.outputs.publish import published_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from model.surface_registration.register import RegistrationOptions, RegistrationReport

_ORDERED_FORMATS = tuple(fmt for fmt in MESH_FORMATS if fmt != "stl")


def register_mesh(
    atlas: Annotated[Path, typer.Argument(help="Surface of the atlas, or a model bundle: a name or a path.")],
    patient: Annotated[Path, typer.Argument(help="Surface of the patient, or a folder of them.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to write, or folder [default: beside the patient, named ..._atlas.vtk]."),
    ] = None,
    structure: Annotated[str, typer.Option(help="Which surface of a bundle.")] = "labyrinth",
    like: Annotated[
        Path | None, typer.Option("--like", help="NIfTI image that a patient in voxel indices refers to; or a folder.")
    ] = None,
    grid: GridOption = None,
    spacing: SpacingOption = None,
    atlas_like: Annotated[
        Path | None, typer.Option("--atlas-like", help="NIfTI image that an atlas in voxel indices refers to.")
    ] = None,
    rigid: Annotated[bool, typer.Option("--rigid/--no-rigid", help="Place the atlas first, wherever it lies.")] = True,
    mirror: Annotated[bool, typer.Option("--mirror", help="Mirror the atlas first: it is of the other side.")] = False,
    largest_piece: Annotated[
        bool, typer.Option("--largest-piece", help="Leave out all pieces of the patient's surface but the largest.")
    ] = False,
    report: Annotated[Path | None, typer.Option("--report", help="JSON file for the report of one patient.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Folder: register anew what is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Carry an atlas surface onto a patient's surface of another triangulation.

    The result has the triangles, the vertex order and the point data of the atlas and lies on the patient's surface,
    in the space of the patient's file, so that it can be compared point to point. Holes and stray pieces of the
    patient do no harm. Ears of opposite sides are refused; --mirror mirrors the atlas first.

    Surfaces in voxel indices need their grid: --like or --grid and --spacing for the patient, --atlas-like for the
    atlas, which otherwise lies as published crops do, in voxels of the grid stated for the patient.
    """
    from model.surface_registration.register import RegistrationOptions

    choice = GridChoice(like, grid, spacing)
    surface = _read_atlas(atlas, structure, GridChoice(atlas_like) if atlas_like else GridChoice(None, grid, spacing))
    options = RegistrationOptions(rigid, mirror, largest_piece)
    if patient.is_dir():
        if out is None or report is not None:
            raise OptionError("a folder needs a folder to write to", expected="--out DIR, and no --report")
        items = find_items(patient, out, [f".{fmt}" for fmt in MESH_FORMATS], [".vtk"])
        run_items(items, lambda item: _register_item(surface, item, choice, options), force=force)
        return
    target = out or patient.with_name(f"{patient.stem}_atlas.vtk")
    if target.suffix.removeprefix(".").lower() not in _ORDERED_FORMATS:
        expected = ", ".join(_ORDERED_FORMATS)
        raise OptionError("this format does not keep the order of vertices", expected=expected, found=target.suffix)
    with progress_bar("read") as show:
        result = _register(surface, patient, target, choice, options, show)
    if report is not None:
        with published_path(report) as path:
            path.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(result.to_json(), indent=1) if as_json else f"{target.name}: {_words(result)}")


def _read_atlas(atlas: Path, structure: str, choice: GridChoice) -> SurfaceMesh:
    """Give the surface of a file, or of a bundle where its canonical crop lies, in RAS mm."""
    if atlas.suffix.removeprefix(".").lower() in MESH_FORMATS:
        grid = choice.of(atlas)
        return to_space(read_mesh(atlas), "ras", None if grid is None else grid.affine)
    from model.bundle import find_bundle, load_bundle
    from model.volumes.grid import stated_grid

    bundle = load_bundle(find_bundle(str(atlas)))
    if structure not in bundle.atlas_meshes_ijk:
        expected = ", ".join(bundle.atlas_meshes_ijk)
        raise OptionError("the bundle has no such structure", expected=expected, found=structure, field="structure")
    frame = bundle.frame
    return to_space(bundle.atlas_meshes_ijk[structure], "ras", stated_grid(frame.grid, [frame.spacing_mm] * 3).affine)


def _register_item(atlas: SurfaceMesh, item: Item, choice: GridChoice, options: RegistrationOptions) -> None:
    """Register one patient of a folder and say how well it went."""
    result = _register(atlas, item.source, item.targets[0], choice, options, lambda *_: None, item.name)
    typer.echo(f"{item.name}: {_words(result)}")


def _register(
    atlas_ras: SurfaceMesh,
    patient: Path,
    target: Path,
    choice: GridChoice,
    options: RegistrationOptions,
    show: Callable[[str, float], None],
    name: str | None = None,
) -> RegistrationReport:
    """Register one patient and write the atlas surface in the space of the patient's file."""
    # SciPy's solvers are loaded here so that --help does not wait for them.
    from model.surface_registration.register import register_surface

    grid, surface = choice.of(patient, name), read_mesh(patient)
    affine = None if grid is None else grid.affine
    result = register_surface(atlas_ras, to_space(surface, "ras", affine), options, show)
    fmt = target.suffix.removeprefix(".").lower()
    carried = to_space(result.surface_ras, "ijk" if fmt == "mesh" else surface.space, affine)
    with published_path(target) as path:
        write_mesh(
            carried,
            path,
            fmt,
            title=patient.stem,
            grid=None if grid is None else grid.shape,
            spacing_mm=None if grid is None else grid.spacing_mm,
        )
    return result.report


def _words(report: RegistrationReport) -> str:
    """Give a report in one line."""
    there, back = report.atlas_to_patient, report.patient_to_atlas
    return (
        f"atlas to patient {there.mean_mm:.3f} mm (95 % {there.p95_mm:.3f}), "
        f"patient to atlas {back.mean_mm:.3f} mm (95 % {back.p95_mm:.3f}), "
        f"{report.flipped_triangles} of {report.triangles} triangles flipped, "
        f"{report.iterations} iterations, {report.seconds:.1f} s"
    )
