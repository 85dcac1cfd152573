"""`cochlear synthesize`: CT of ears with known truth, and real ears with an inserted implant."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from model.bundle import DEFAULT_BUNDLE
from model.cli.anatomy import read_anatomy
from model.cli.progress import progress_bar
from model.cli.request import SideOption as EarSide
from model.cli.request import load_request, read_landmarks
from model.errors import LandmarksError, OptionError
from model.geometry.landmarks import Side
from model.synthesis.anatomy import Anatomy
from model.synthesis.designs import MAKERS, Maker
from model.synthesis.export import write_ear, write_inserted
from model.synthesis.insert import insert_implant


class SideOption(StrEnum):
    """Which ears to make."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


class MakerOption(StrEnum):
    """Whose electrode arrays to insert."""

    COCHLEAR = "cochlear"
    MED_EL = "med-el"
    ADVANCED_BIONICS = "advanced-bionics"


_SIDES: dict[SideOption, Side | None] = {SideOption.LEFT: "left", SideOption.RIGHT: "right", SideOption.BOTH: None}
_MAKERS: dict[MakerOption, Maker] = dict(zip(MakerOption, MAKERS, strict=True))


def synthesize(
    out: Annotated[Path, typer.Option(help="Folder to write to; one folder per ear.")],
    bundle: Annotated[str, typer.Option(help="Model bundle: a name or a path.")] = DEFAULT_BUNDLE,
    count: Annotated[int, typer.Option(min=1, help="Number of ears.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first ear; each further one counts up.")] = 0,
    implant: Annotated[bool | None, typer.Option("--implant/--no-implant", help="[default: half of the ears]")] = None,
    side: Annotated[SideOption, typer.Option(help="Side of the ears.")] = SideOption.BOTH,
    atlas: Annotated[
        Path | None,
        typer.Option(help="Folder that `cochlear atlas` wrote: its anatomy and shape modes, not the bundle's."),
    ] = None,
    ears: Annotated[
        Path | None, typer.Option(help="With --atlas: its labelled ears, whose CT are changed at random instead.")
    ] = None,
    into: Annotated[Path | None, typer.Option(help="Raw CT of a real ear to insert implants into.")] = None,
    landmarks: Annotated[Path | None, typer.Option(help="JSON file of its landmarks.")] = None,
    maker: Annotated[MakerOption | None, typer.Option(help="Whose arrays to insert. [default: any]")] = None,
    slice_axis: Annotated[
        int | None, typer.Option(min=0, max=2, help="Its array axis from slice to slice. [default: by its spacing]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace ears of those numbers that are there.")] = False,
) -> None:
    """Make CT of ears with known anatomy from a seed, or insert implants into the CT of a real ear.

    Shapes are the atlas's, changed at random; with --atlas also along the modes in which its ears differ; with --ears
    a real ear's with its own CT around it.

    Every ear gets ct.nii.gz, labyrinth.nii.gz, landmarks.json, truth/ (meshes in LPS mm, label map) and ear.json. With
    --into, the bundle finds the scala tympani of the ear, and every implant gets ct.nii.gz on the ear's own grid,
    metal.nii.gz, landmarks.json and implant.json.
    """
    seeds = range(seed, seed + count)
    folders = [out / f"{'ear' if into is None else 'implant'}-{number:06d}" for number in seeds]
    if into is None:
        _refuse_without_into(landmarks=landmarks, maker=maker, slice_axis=slice_axis)
        _refuse_folders(folders, force=force)
        _make_ears(folders, seeds, read_anatomy(bundle, atlas, ears), implant, _SIDES[side])
        typer.echo(f"{out}: {count} ears")
    else:
        if implant is not None:
            raise OptionError("an inserted implant is asked for already", found="--implant or --no-implant with --into")
        if atlas is not None or ears is not None:
            raise OptionError("the anatomy of a real ear is found in its image", found="--atlas or --ears with --into")
        _refuse_folders(folders, force=force)
        _insert(folders, bundle, seeds, into, landmarks, _SIDES[side], maker, slice_axis)
        typer.echo(f"{out}: {count} implants")


def _refuse_without_into(**options: object) -> None:
    """Refuse options that say how to insert when nothing is inserted."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise OptionError("these options need --into", expected="--into EAR.nii.gz", found=", ".join(given))


def _refuse_folders(folders: Sequence[Path], *, force: bool) -> None:
    """Refuse to replace ears unless that is asked for."""
    there = [folder.name for folder in folders if folder.exists()]
    if there and not force:
        raise OptionError(
            "there are ears of those numbers in the output folder already",
            found=", ".join(there)[:80],
            hint="choose another --out or --seed, or say --force to replace them",
        )


def _make_ears(
    folders: Sequence[Path], seeds: Sequence[int], anatomy: Anatomy, implant: bool | None, side: Side | None
) -> None:
    """Make synthetic ears."""
    share = 0.5 if implant is None else float(implant)
    with progress_bar("ears") as show:
        for done, (number, folder) in enumerate(zip(seeds, folders, strict=True), start=1):
            ear, frame = anatomy.make(number, share)
            write_ear(ear, anatomy.meshes_ijk, frame, folder, side)
            show("ears", done / len(seeds))


def _insert(
    folders: Sequence[Path],
    bundle: str,
    seeds: Sequence[int],
    ear: Path,
    landmarks: Path | None,
    side: Side | None,
    maker: MakerOption | None,
    slice_axis: int | None,
) -> None:
    """Insert implants into one real ear."""
    if landmarks is None:
        raise LandmarksError(
            "an implant is inserted into raw CT, which needs landmarks",
            expected="--landmarks FILE",
            found="none",
            field="landmarks",
        )
    loaded, request = load_request(ear, bundle, landmarks, None if side is None else EarSide(side))
    # Bad input is refused before the network library is loaded.
    from model.segmentation import Segmenter

    with progress_bar("segment") as show:
        found = Segmenter(loaded).run(request)
        to_canonical = request.alignment.ras_to_canonical
        meshes_ijk = {name: mesh.transformed(to_canonical, "ijk") for name, mesh in found.meshes_ras.items()}
        for done, (number, folder) in enumerate(zip(seeds, folders, strict=True), start=1):
            inserted = insert_implant(
                request.volume,
                meshes_ijk,
                request.alignment,
                number,
                maker=None if maker is None else _MAKERS[maker],
                slice_axis=slice_axis,
            )
            write_inserted(inserted, request.volume, read_landmarks(landmarks), folder)
            show("implants", done / len(seeds))
    for warning in request.warnings:
        typer.echo(f"warning: {warning}", err=True)
