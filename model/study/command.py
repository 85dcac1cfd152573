"""`python -m model.study`: methods by sets of ears, in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle
from model.cli.progress import progress_bar
from model.errors import OptionError
from model.evaluation.study import evaluate_rows, write_study
from model.methods.choose import choose_methods
from model.study.results import median_seconds
from model.study.run import StudyPlan, run_plan
from model.study.sets import SETS, SetOptions, plan_sets
from model.study.table import readme_table

REPORT, TABLE, SECONDS = "report", "table.md", "seconds.json"
"""Within the study's folder: scores, statistics and pictures; the short table; median seconds by method."""


def study(
    ears: Annotated[Path, typer.Option(help="Folder of labelled ears with split.json.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; started again, it goes on where it stopped.")],
    bundle: Annotated[str, typer.Option(help="Model whose atlas is used, and which places inserted arrays.")] = (
        DEFAULT_BUNDLE
    ),
    methods: Annotated[
        str | None,
        typer.Option(
            help="none, rigid, elastix, and bundles (BUNDLE, BUNDLE:network for no refinement), separated by commas. "
            "[default: all of these, the bundle being that of --bundle]"
        ),
    ] = None,
    sets: Annotated[str, typer.Option(help=f"Sets of ears, separated by commas, of {', '.join(SETS)}.")] = ",".join(
        SETS[:-1]
    ),
    arrays: Annotated[int, typer.Option(min=1, help="Electrode arrays inserted into each validation ear.")] = 4,
    synthetic: Annotated[int, typer.Option(min=1, help="Synthetic implanted ears.")] = 50,
    draws: Annotated[int, typer.Option(min=1, help="Disturbed sets of landmarks of each validation ear.")] = 4,
    reference: Annotated[str | None, typer.Option(help="Test only against this method. [default: all pairs]")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Ears worked on at a time, one thread each.")] = 2,
    device: Annotated[str, typer.Option(help="Where networks run: auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Compare methods on ears with known truth, as scanned and with metal, and write the tables and pictures.

    Ears and scores are kept in the folder by what they were made from (models, settings, images). After a change of the
    code itself, delete the folder.
    """
    chosen = tuple((methods or f"none,rigid,elastix,{bundle}:network,{bundle}").split(","))
    # What is wrong with the options is said before the processes start.
    names = [method.name for method in choose_methods(chosen, load_bundle(find_bundle(bundle)), device)]
    if reference is not None and reference not in names:
        raise OptionError("there is no such method to compare with", expected=", ".join(names), found=reference[:80])
    recipes = plan_sets(sets.split(","), ears, SetOptions(arrays, synthetic, draws))
    with progress_bar("start") as show:
        scores = run_plan(StudyPlan(bundle, chosen, out, device), recipes, processes, show)
        result = evaluate_rows((row for score in scores for row in score.rows), reference=reference)
        write_study(result, out / REPORT, progress=show)
    seconds = median_seconds(scores)
    (out / SECONDS).write_text(json.dumps(seconds, indent=1) + "\n", encoding="utf-8")
    (out / TABLE).write_text(readme_table(result.summaries, seconds), encoding="utf-8")
    typer.echo((out / TABLE).read_text(encoding="utf-8"))
