"""`cochlear bundle`: what models there are, whether they are sound, and how to get one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model.bundle import (
    BundleManifest,
    bundle_digest,
    bundle_names,
    default_checkpoints,
    find_bundle,
    read_manifest,
    verify_bundle,
)
from model.cli.progress import progress_bar
from model.errors import DamagedBundleError
from model.structures import structure_by_id

app = typer.Typer(help="List, show, verify and import model bundles.", no_args_is_help=True)

_BundleArgument = Annotated[str, typer.Argument(help="Name of a bundle, or the path of one.")]
_CheckpointsOption = Annotated[Path | None, typer.Option(help="Folder of bundles [default: the installed ones].")]


@app.command("list")
def list_command(checkpoints: _CheckpointsOption = None) -> None:
    """List the bundles by name."""
    folder = default_checkpoints() if checkpoints is None else checkpoints
    table = Table("name", "version", "network", "structures", box=None, header_style="bold", pad_edge=False)
    for name in bundle_names(folder):
        try:
            manifest = read_manifest(folder / name)
        except DamagedBundleError:
            table.add_row(name, "damaged", "", "")
            continue
        codes = " ".join(structure.code for structure in manifest.structures)
        table.add_row(name, escape(manifest.version), escape(manifest.network.class_name), codes)
    if not table.row_count:
        typer.echo("no bundles")
        return
    Console().print(table)


@app.command("show")
def show_command(bundle: _BundleArgument, checkpoints: _CheckpointsOption = None) -> None:
    """Show what a bundle is, what it was trained on, and its limits."""
    path = find_bundle(bundle, checkpoints)
    manifest = read_manifest(path)
    frame = manifest.frame
    rows = {
        "name": f"{manifest.name} {manifest.version}",
        "digest": bundle_digest(path),
        "intended use": manifest.intended_use,
        "licence": manifest.licence,
        "citation": manifest.citation or "none",
        "network": f"{manifest.network.class_name}, {manifest.weights.values:,} values",
        "crop": f"{' x '.join(map(str, frame.grid))} voxels of {frame.spacing_mm:g} mm, axes {frame.axes}",
        "images": _images(manifest),
        "intensity": manifest.intensity.rule,
        "sampler": manifest.sampler,
        "trained on": manifest.training.data,
    }
    rows |= {f"limit {number}": text for number, text in enumerate(manifest.limits, 1)}
    for structure in manifest.structures:
        surface = f"{structure.vertices} vertices, {structure.triangles} triangles" if manifest.has_atlas else "a mask"
        rows[structure_by_id(structure.id).name] = surface
    rows |= {f"score {name}": str(value) for name, value in manifest.scores.items()}
    width = max(map(len, rows))
    for name, text in rows.items():
        typer.echo(f"{name:<{width}}  {text}")


def _images(manifest: BundleManifest) -> str:
    """Say what a model takes."""
    if manifest.has_atlas and not manifest.has_atlas_input:
        return "none; activation maps of cases only"
    return "raw CT with landmarks, and prepared crops" if manifest.frame.landmarks_ijk else "prepared crops only"


@app.command("verify")
def verify_command(bundle: _BundleArgument, checkpoints: _CheckpointsOption = None) -> None:
    """Check every file of a bundle: digests, counts and shapes."""
    path = find_bundle(bundle, checkpoints)
    manifest = verify_bundle(path)
    typer.echo(f"{manifest.name} {manifest.version} is sound: {len(manifest.files)} files, {bundle_digest(path)}")


@app.command("import-release")
def import_release_command(
    checkpoint: Annotated[Path, typer.Option(help="Published weights: best.pth, or the folder of its experiment.")],
    atlas: Annotated[Path, typer.Option(help="Published atlas: the folder data/atlas.")],
    method: Annotated[str, typer.Option(help="Method of the weights: chamfer, p2p, dice or segnet.")],
    name: Annotated[str, typer.Option(help="Name of the new bundle.")],
    to: Annotated[Path | None, typer.Option(help="Folder to write into [default: the installed bundles].")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier bundle of that name.")] = False,
) -> None:
    """Write a bundle from the published release."""
    # Only this sub-command needs torch.
    from model.release.importer import import_release

    folder = default_checkpoints() if to is None else to
    with progress_bar("import") as show:
        path = import_release(checkpoint, atlas, method=method, name=name, to=folder, replace=replace, progress=show)
    manifest = read_manifest(path)
    takes = f"atlas {manifest.network.input.atlas}"
    typer.echo(f"{path}: {manifest.name}, {manifest.weights.values:,} values, {takes}")
    if manifest.has_atlas and not manifest.has_atlas_input:
        typer.echo(f"note: {manifest.limits[0]}", err=True)
