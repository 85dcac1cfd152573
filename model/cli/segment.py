"""`cochlear segment`: one ear, from the image to meshes, masks and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.bundle import DEFAULT_BUNDLE
from model.cli.progress import progress_bar
from model.cli.request import BundleOption, EarArgument, LandmarksOption, SideChoice, load_request
from model.meshes.formats import check_mesh_format
from model.outputs.publish import check_output_folder
from model.outputs.write import REPORT_NAME, write_results


def segment(
    ear: EarArgument,
    out: Annotated[Path, typer.Option(help="Folder for the results: new, empty, or of an earlier run.")],
    bundle: BundleOption = DEFAULT_BUNDLE,
    landmarks: LandmarksOption = None,
    side: SideChoice = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    formats: Annotated[str, typer.Option(help="Mesh formats, separated by commas.")] = "vtk,stl",
    rigid: Annotated[bool, typer.Option("--rigid", help="Place the atlas by landmarks only, a baseline.")] = False,
) -> None:
    """Segment one ear and write meshes, masks, field (of a registration), report and picture."""
    mesh_formats = [check_mesh_format(name.strip()) for name in formats.split(",")]
    check_output_folder(out, REPORT_NAME)
    loaded, request = load_request(ear, bundle, landmarks, side)
    # Bad input is refused before the network library is loaded.
    from model.segmentation import Segmenter

    with progress_bar("load") as show:
        segmentation = Segmenter(loaded, device).run(request, show, deform=not rigid)
        write_results(segmentation, out, mesh_formats=mesh_formats, progress=show)
    for warning in segmentation.report["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"results written; verdict and measurements in {out / 'report.json'}")
