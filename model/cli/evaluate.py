"""`cochlear evaluate`: how close are results to the truth?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from model.cli.progress import progress_bar
from model.cli.study_output import names_of, print_medians, say_remarks
from model.errors import InputError, OptionError
from model.evaluation.files import compare_files
from model.outputs.publish import check_output_folder


def evaluate(
    result: Annotated[Path, typer.Argument(help="Mask, label map or surface to judge; or a folder <method>/<case>/.")],
    truth: Annotated[Path, typer.Argument(help="What it should be, of the same kind; or a folder <case>/.")],
    image: Annotated[
        Path | None, typer.Option("--like", help="Files: NIfTI image that voxel indices of .mesh refer to.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folders: where to write scores, summary, table and pictures.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Folders: methods in the order to show, separated by commas.")
    ] = None,
    cases: Annotated[str | None, typer.Option(help="Folders: cases to score, separated by commas.")] = None,
    groups: Annotated[
        Path | None, typer.Option(help="Folders: JSON object of cases and the groups they count in.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Folders: test only against this method.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Folders: seed of the bootstrap intervals.")] = 0,
    formats: Annotated[str, typer.Option(help="Folders: picture formats of png, svg, pdf.")] = "png,svg",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare two masks, two surfaces, or the results of several methods on many cases.

    Files: Dice and volumes of masks; distances in mm of surfaces, point to point where vertices correspond.

    Folders: RESULTS/<method>/<case>/ as `cochlear segment --out` writes them, against TRUTHS/<case>/ as
    `cochlear synthesize` writes them or with a mask such as labyrinth.nii.gz. Scores per method, case and structure,
    medians and means with intervals, paired Wilcoxon tests, error curves, box plots.
    """
    if result.is_dir() and truth.is_dir():
        if image is not None:
            raise OptionError("--like is for files", expected="no --like with folders", field="like")
        _evaluate_folders(
            result,
            truth,
            out,
            methods=names_of(methods),
            cases=names_of(cases),
            groups=groups,
            reference=reference,
            seed=seed,
            formats=names_of(formats) or [],
            as_json=as_json,
        )
        return
    if result.is_dir() or truth.is_dir():
        raise InputError("a folder and a file cannot be compared", expected="two files or two folders")
    given = {"--out": out, "--methods": methods, "--cases": cases, "--groups": groups, "--reference": reference}
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise OptionError(f"{', '.join(wrong)} works with two folders", expected="folders of results and truths")
    _compare_files(result, truth, image, as_json=as_json)


def _evaluate_folders(
    results: Path,
    truths: Path,
    out: Path | None,
    *,
    methods: list[str] | None,
    cases: list[str] | None,
    groups: Path | None,
    reference: str | None,
    seed: int,
    formats: list[str],
    as_json: bool,
) -> None:
    """Evaluate a study and print the medians; see `evaluate`."""
    # Statistics and marching cubes are loaded here so that other commands start without them.
    from model.evaluation.study import SUMMARY_NAME, check_formats, evaluate_study, study_to_json, write_study
    from model.evaluation.truth_folder import read_groups

    check_formats(formats)
    if out is not None:
        check_output_folder(out, SUMMARY_NAME)
    with progress_bar("reading") as show:
        study = evaluate_study(
            results,
            truths,
            methods=methods,
            cases=cases,
            groups=None if groups is None else read_groups(groups),
            reference=reference,
            seed=seed,
            progress=show,
        )
        if out is not None:
            write_study(study, out, formats, show)
    say_remarks([*map(str, study.missing), *study.remarks])
    if as_json:
        typer.echo(json.dumps(study_to_json(study), indent=1))
        return
    print_medians(study.summaries)
    if out is not None:
        typer.echo(f"{out}: scores, summary, table and pictures")


def _compare_files(result: Path, truth: Path, image: Path | None, *, as_json: bool) -> None:
    """Compare two files and print the scores."""
    scores = compare_files(result, truth, image)
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    table = Table()
    for name in ("", *scores):
        table.add_column(name, justify="right" if name else "left")
    for measure in dict.fromkeys(key for row in scores.values() for key in row):
        table.add_row(measure, *(f"{row[measure]:.3f}" if measure in row else "" for row in scores.values()))
    Console().print(table)
