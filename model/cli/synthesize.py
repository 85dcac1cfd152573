"""`cochlear synthesize`: CT of ears with known truth."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from model.bundle import find_bundle, load_bundle
from model.errors import OptionError
from model.geometry.landmarks import Side
from model.synthesis.ear import EarOptions, synthesize_ear
from model.synthesis.export import write_ear
from model.synthesis.template import build_template


class SideOption(StrEnum):
    """Which ears to make."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


_SIDES: dict[SideOption, Side | None] = {SideOption.LEFT: "left", SideOption.RIGHT: "right", SideOption.BOTH: None}


def synthesize(
    out: Annotated[Path, typer.Option(help="Folder to write to; one folder per ear.")],
    bundle: Annotated[str, typer.Option(help="Model bundle whose atlas is deformed: a name or a path.")],
    count: Annotated[int, typer.Option(min=1, help="Number of ears.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first ear; each further one counts up.")] = 0,
    implant: Annotated[bool | None, typer.Option("--implant/--no-implant", help="[default: half of the ears]")] = None,
    side: Annotated[SideOption, typer.Option(help="Side of the ears.")] = SideOption.BOTH,
) -> None:
    """Make CT images of ears with known anatomy, from a seed.

    Every ear gets ct.nii.gz, labyrinth.nii.gz, landmarks.json, truth/ (meshes in LPS mm, label map) and ear.json.
    """
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
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("Making ears", total=count)
        template = build_template(atlas)
        for number in range(seed, seed + count):
            ear = synthesize_ear(atlas, number, options, template)
            write_ear(ear, atlas, model.frame, out / f"ear-{number:06d}", _SIDES[side])
            progress.advance(task)
    typer.echo(f"{out}: {count} ears")
