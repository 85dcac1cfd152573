"""`cochlear reproduce-figures`: the published results from published meshes and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.cli.progress import progress_bar
from model.cli.study_output import names_of, print_medians, say_remarks
from model.outputs.publish import check_output_folder


def reproduce_figures(
    data: Annotated[Path, typer.Option(help="Folder of mesh/<method>/<code>/ and mask/<method>/<code>/.")],
    out: Annotated[Path, typer.Option(help="Where to write tables and pictures.")],
    atlas: Annotated[
        str | None,
        typer.Option(help="Undeformed atlas: folder of atlas_<code>.mesh, or a bundle [default: DATA/atlas if there]."),
    ] = None,
    frequency_map: Annotated[
        Path | None,
        typer.Option(
            help="One value per modiolus vertex, .npy, .npz or .csv; those above zero count"
            " [default: DATA/sgfreqmapping.bin if there, otherwise all count]."
        ),
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Methods in the order to show, separated by commas.")] = None,
    cases: Annotated[str | None, typer.Option(help="Cases to measure, separated by commas.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Test all others against this method [default: chamfer if there, otherwise all pairs]."),
    ] = None,
    panel_cases: Annotated[
        str | None, typer.Option(help="Cases of the mesh panels, separated by commas [default: one in the middle].")
    ] = None,
    voxelize: Annotated[
        bool, typer.Option("--voxelize", help="Make the masks that are not there of the meshes.")
    ] = False,
    spacing: Annotated[
        float | None, typer.Option(help="Voxel size in mm [default: that of the masks, and 0.2 without any].")
    ] = None,
    ignore_affines: Annotated[
        bool, typer.Option("--ignore-affines", help="Compare masks voxel by voxel, whatever their affines say.")
    ] = False,
    formats: Annotated[str, typer.Option(help="Picture formats of png, svg, pdf.")] = "png,svg,pdf",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap intervals.")] = 0,
) -> None:
    """Work out the published results: Dice, point-to-point errors, curves, tests, box plots, mesh panels.

    DATA holds mesh/<method>/<MD|ST|SV|CC>/<case>.mesh and mask/<method>/<MD|ST|SV|CC>/<case>.nii.gz of any methods; the
    method gt is the truth. Surfaces with another number of vertices than the truth get no point-to-point error:
    `cochlear register-mesh` carries the atlas vertices onto them. What is missing is named, never counted as zero.
    """
    # Statistics and drawing are loaded here so that other commands start without them.
    from model.evaluation.study import check_formats
    from model.release.figures.figures import work_out_figures
    from model.release.figures.options import FigureOptions
    from model.release.figures.write import SUMMARY_NAME, write_figures

    picture_formats = names_of(formats) or []
    check_formats(picture_formats)
    options = FigureOptions(spacing, voxelize, ignore_affines)
    check_output_folder(out, SUMMARY_NAME)
    with progress_bar("looking") as show:
        figures = work_out_figures(
            data,
            atlas=atlas,
            frequency_map=frequency_map,
            methods=names_of(methods),
            cases=names_of(cases),
            reference=reference,
            shown=names_of(panel_cases),
            options=options,
            seed=seed,
            progress=show,
        )
        write_figures(figures, out, formats=picture_formats, progress=show)
    say_remarks(figures.remarks)
    print_medians(figures.summaries)
    typer.echo(f"{out}: tables and pictures")
