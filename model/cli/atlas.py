"""`cochlear atlas`: the atlas of a folder of labelled ears."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from model.atlas.labelled_ears import read_labelled_ears, read_split
from model.bundle import find_bundle, load_bundle
from model.cli.progress import progress_bar
from model.errors import InputError
from model.geometry.frame import CanonicalFrame

FILL_HU = -1024.0
FRAME_FILE = "frame.json"


def read_frame(root: Path) -> CanonicalFrame:
    """Read the canonical frame of a folder of labelled ears (`frame.json`).

    Raises:
        InputError: it is not there or cannot be used.
    """
    try:
        document = json.loads((root / FRAME_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("the canonical frame cannot be read", expected="frame.json in the folder of ears") from error
    if not isinstance(document, dict):
        raise InputError("the canonical frame cannot be read", expected="a JSON object in frame.json")
    return CanonicalFrame.from_json(document)


def atlas(
    ears: Annotated[Path, typer.Option(help="Folder of labelled ears with split.json and frame.json.")],
    out: Annotated[Path, typer.Option(help="Folder to write the atlas into.")],
    template: Annotated[str, typer.Option(help="Ear whose label lends its topology.")] = "T03",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the fits.")] = 0,
    like: Annotated[
        str | None, typer.Option(help="Bundle whose atlas is taken as it is and only fitted to the ears.")
    ] = None,
) -> None:
    """Build the atlas from the training ears: mean labyrinth, scalae, modiolus, mean image and shape modes."""
    # The fits need the network library, which no other sub-command of this table should pay for.
    from model.atlas.build import build_atlas
    from model.atlas.existing import atlas_of_bundle

    frame = read_frame(ears)
    names = read_split(ears)["train"]
    if template not in names:
        raise InputError("the template is not a training ear", expected=", ".join(names), found=template)
    bundle = None if like is None else load_bundle(find_bundle(like))
    with progress_bar("reading ears") as show:
        labelled = read_labelled_ears(ears, names, frame, fill_hu=FILL_HU)

        def fitting(name: str, done: float) -> None:
            show(f"fitting {name}", done)

        if bundle is None:
            built = build_atlas(labelled, frame, template=template, seed=seed, progress=fitting)
        else:
            built = atlas_of_bundle(bundle, labelled, frame, seed=seed, progress=fitting)
        built.save(out)
    # A folder of crops is trained on an atlas without the ears it came from.
    (out / FRAME_FILE).write_text(json.dumps(frame.to_json(), indent=1) + "\n", encoding="utf-8")
