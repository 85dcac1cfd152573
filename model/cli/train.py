"""`model-train`: the offline command that turns labelled ears, or a folder of prepared crops, into a model bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from model.bundle import default_checkpoints
from model.cli.errors import run_app
from model.cli.progress import progress_bar
from model.cli.train_options import Overrides, check_together
from model.errors import InputError
from model.training.config import TrainingConfig, read_config

PUBLISHED = Path(__file__).resolve().parents[1] / "training" / "runs" / "published.toml"
"""Configuration of training on a folder of crops when none is given: as published."""

app = typer.Typer(add_completion=False)


@app.command()
def model_train(
    atlas: Annotated[
        str,
        typer.Option(
            help="With --ears: folder that `cochlear atlas` wrote. With --images: that, a bundle, the "
            "published data/atlas, or a case that has masks."
        ),
    ],
    experiment: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and pictures; a run resumes from it.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file of the run [default with --images: as published].")
    ] = None,
    ears: Annotated[Path | None, typer.Option(help="Folder of labelled ears with split.json and frame.json.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of prepared crops, <case>.nii.gz.")] = None,
    vertices: Annotated[
        Path | None,
        typer.Option(help="Folder of <case>.npz, <case>.pkl, label maps <case>.nii.gz or <case>_<structure>.nii.gz."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of bundles to write the trained one into [default: the installed ones].")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="With --ears: JSON of scores for the model card.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the configuration's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Overrides the configuration's length.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Overrides the configuration's length.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; overrides the configuration's.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed or 16-mixed; overrides the configuration's.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Lose an earlier experiment or bundle of that name, of another run.")
    ] = False,
) -> None:
    """Train a model and write its bundle; started again, it goes on where it stopped.

    Either on labelled ears (--ears, with --config), or as published on a folder of prepared crops and one of their
    vertices (--images, --vertices); then the bundle is called like the experiment's folder.
    """
    overrides = Overrides(seed=seed, epochs=epochs, steps=steps, device=device, precision=precision)
    folder = default_checkpoints() if out is None else out
    check_together(
        {"--images": images, "--vertices": vertices}, {"--config": config, "--ears": ears}, {"--scores": scores}
    )
    if images is not None and vertices is not None:
        run = overrides.apply(read_config(PUBLISHED if config is None else config))
        bundle = _train_on_crops(run, images, vertices, atlas, experiment, folder, force=force)
    elif config is not None and ears is not None:
        run = overrides.apply(read_config(config))
        bundle = _train_on_ears(run, ears, Path(atlas), experiment, folder, read_scores(scores), force=force)
    typer.echo(f"bundle written: {bundle.name}")


def _train_on_crops(
    run: TrainingConfig, images: Path, vertices: Path, atlas: str, experiment: Path, out: Path, *, force: bool
) -> Path:
    """Train on a folder of prepared crops."""
    # The network library is loaded when the options are known to be good.
    from model.training.crops.find_atlas import find_atlas
    from model.training.crops.read import read_crops
    from model.training.crops.run import train_crops

    with progress_bar("reading crops") as show:
        target = find_atlas(atlas, images, vertices)
        cases = read_crops(images, vertices, target)
        return train_crops(cases, target, run, experiment, out, show, force=force)


def _train_on_ears(
    run: TrainingConfig, ears: Path, atlas: Path, experiment: Path, out: Path, scores: dict[str, Any], *, force: bool
) -> Path:
    """Train on labelled and synthetic ears."""
    from model.atlas.build import Atlas
    from model.atlas.labelled_ears import read_labelled_ears, read_split
    from model.cli.atlas import FILL_HU, read_frame
    from model.training.place import check_place
    from model.training.train import train

    stated = run.model_dump(mode="json")
    check_place(out / run.name, lambda training: training.details == stated, force=force)
    frame = read_frame(ears)
    labelled = read_labelled_ears(ears, read_split(ears)["train"], frame, fill_hu=FILL_HU)
    with progress_bar() as show:
        return train(labelled, Atlas.load(atlas), frame, run, experiment, out, show, scores, force=force)


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
