"""`model-train`: the offline command that turns labelled ears and an atlas into a model bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from model.atlas.build import Atlas
from model.atlas.labelled_ears import read_labelled_ears, read_split
from model.cli.atlas import FILL_HU, read_frame
from model.cli.errors import run_app
from model.cli.progress import progress_bar
from model.errors import InputError
from model.training.config import read_config
from model.training.train import train

app = typer.Typer(add_completion=False)


@app.command()
def model_train(
    config: Annotated[Path, typer.Option(help="TOML file of the run.")],
    ears: Annotated[Path, typer.Option(help="Folder of labelled ears with split.json and frame.json.")],
    atlas: Annotated[Path, typer.Option(help="Folder that `cochlear atlas` wrote.")],
    experiment: Annotated[Path, typer.Option(help="Folder for cases, checkpoints and logs; a run resumes from it.")],
    out: Annotated[Path, typer.Option(help="Folder of bundles to write the trained one into.")] = Path("checkpoints"),
    scores: Annotated[Path | None, typer.Option(help="Scores for the model card, by benchmarks/accuracy.py.")] = None,
) -> None:
    """Train a registration model and write its bundle; started again, it goes on where it stopped."""
    run = read_config(config)
    known = read_scores(scores)
    frame = read_frame(ears)
    labelled = read_labelled_ears(ears, read_split(ears)["train"], frame, fill_hu=FILL_HU)
    with progress_bar() as show:
        bundle = train(labelled, Atlas.load(atlas), frame, run, experiment, out, show, known)
    typer.echo(f"bundle written: {bundle.name}")


def read_scores(path: Path | None) -> dict[str, Any]:
    """Read a file of scores; no file means none are known.

    Raises:
        InputError: it cannot be read.
    """
    if path is None:
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError("the scores cannot be read", expected="a JSON file") from error


def main() -> None:
    """Run the command and exit with 0 (done), 1 (run failed) or 2 (bad input or usage)."""
    run_app(app)
