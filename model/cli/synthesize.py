"""`cochlear synthesize`: CT of ears with known truth, and real ears with an inserted implant."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle
from model.cli.progress import progress_bar
from model.cli.request import SideOption as EarSide
from model.cli.request import load_request, read_landmarks
from model.errors import LandmarksError, OptionError
from model.geometry.landmarks import Side
from model.synthesis.designs import MAKERS, Maker
from model.synthesis.ear import EarOptions, synthesize_ear
from model.synthesis.export import write_ear, write_inserted
from model.synthesis.insert import insert_implant
from model.synthesis.template import build_template


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
    into: Annotated[Path | None, typer.Option(help="Raw CT of a real ear to insert implants into.")] = None,
    landmarks: Annotated[Path | None, typer.Option(help="JSON file of its landmarks.")] = None,
    maker: Annotated[MakerOption | None, typer.Option(help="Whose arrays to insert. [default: any]")] = None,
    slice_axis: Annotated[
        int | None, typer.Option(min=0, max=2, help="Its array axis from slice to slice. [default: by its spacing]")
    ] = None,
) -> None:
    """Make CT of ears with known anatomy from a seed, or insert implants into the CT of a real ear.

    Every synthetic ear gets ct.nii.gz, labyrinth.nii.gz, landmarks.json, truth/ (meshes in LPS mm, label map) and
    ear.json. With --into, the bundle finds the scala tympani of the ear, and every implant gets ct.nii.gz on the ear's
    own grid, metal.nii.gz, landmarks.json and implant.json.
    """
    if into is None:
        _refuse_without_into(landmarks=landmarks, maker=maker, slice_axis=slice_axis)
        _make_ears(out, bundle, range(seed, seed + count), implant, _SIDES[side])
    else:
        if implant is not None:
            raise OptionError("an inserted implant is asked for already", found="--implant or --no-implant with --into")
        _insert(out, bundle, range(seed, seed + count), into, landmarks, _SIDES[side], maker, slice_axis)


def _refuse_without_into(**options: object) -> None:
    """Refuse options that say how to insert when nothing is inserted."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise OptionError("these options need --into", expected="--into EAR.nii.gz", found=", ".join(given))


def _make_ears(out: Path, bundle: str, seeds: range, implant: bool | None, side: Side | None) -> None:
    """Make synthetic ears."""
    model = load_bundle(find_bundle(bundle))
    atlas = dict(model.atlas_meshes_ijk)
    if not model.frame.landmarks_ijk:
        raise OptionError(
            "the atlas of this bundle has no landmarks",
            expected="a bundle with landmarks of its atlas",
            found=model.name,
            field="bundle",
        )
    options = EarOptions(implant_share=0.5 if implant is None else float(implant), with_ddf=False)
    with progress_bar("ears") as show:
        template = build_template(atlas)
        for done, number in enumerate(seeds, start=1):
            ear = synthesize_ear(atlas, number, options, template)
            write_ear(ear, atlas, model.frame, out / f"ear-{number:06d}", side)
            show("ears", done / len(seeds))
    typer.echo(f"{out}: {len(seeds)} ears")


def _insert(
    out: Path,
    bundle: str,
    seeds: range,
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
        for done, number in enumerate(seeds, start=1):
            inserted = insert_implant(
                request.volume,
                meshes_ijk,
                request.alignment,
                number,
                maker=None if maker is None else _MAKERS[maker],
                slice_axis=slice_axis,
            )
            write_inserted(inserted, request.volume, read_landmarks(landmarks), out / f"implant-{number:06d}")
            show("implants", done / len(seeds))
    for warning in request.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{out}: {len(seeds)} implants")
