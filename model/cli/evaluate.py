"""`cochlear evaluate`: how close is a result to the truth?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from model.evaluation.files import compare_files


def evaluate(
    result: Annotated[Path, typer.Argument(help="Mask or label map (NIfTI) or surface to judge.")],
    truth: Annotated[Path, typer.Argument(help="What it should be, of the same kind.")],
    image: Annotated[
        Path | None, typer.Option("--like", help="NIfTI image that voxel indices of .mesh refer to.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare two masks (Dice, volumes) or two surfaces (distances in mm, point to point where vertices correspond)."""
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
