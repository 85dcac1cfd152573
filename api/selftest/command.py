"""The sub-command `cochlear selftest`."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.errors import RunError
from model.evaluation.phantom import TYPICAL_SEED

if TYPE_CHECKING:
    from api.selftest.run import Report

_TOLERANCE_MM = 0.5


class SelfTestError(RunError):
    """The service does not do what it should."""

    code = "self-test-failed"
    title = "The self-test failed"


def selftest(
    url: Annotated[str, typer.Option(help="Address of the service.", envvar="COCHLEAR_URL")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None,
        typer.Option(
            help="API key with the scopes submit and read; process lists show it here, not in the variable.",
            envvar="COCHLEAR_API_KEY",
            show_envvar=True,
        ),
    ] = None,
    tolerance_mm: Annotated[float, typer.Option(min=0, help="Mean vertex error allowed.")] = _TOLERANCE_MM,
    bundle: Annotated[str | None, typer.Option(help="Model to test [default: the service's default].")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=999, help="Which phantom; the limits are meant for the default one.")
    ] = TYPICAL_SEED,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the report.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to keep phantom and results in.")] = None,
) -> None:
    """Test a running service: send a phantom with known answer, check what comes back in mm, erase it."""
    from api.client import CochlearClient
    from api.selftest.run import qualify
    from model.bundle import find_bundle, load_bundle
    from worker.settings import Settings

    settings = Settings()
    atlas = load_bundle(find_bundle(settings.bundle, settings.checkpoints))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if out is None else out
        client = stack.enter_context(CochlearClient(url, api_key=api_key))
        report = qualify(
            client,
            atlas,
            folder,
            seed=seed,
            tolerance_mm=tolerance_mm,
            model=bundle,
            tell=lambda t: typer.echo(t, err=True),
        )
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    _print(report)
    if not report.passed:
        failed = [check.name for check in report.checks if not check.passed]
        if not report.erased:
            failed.append("a job of the test could not be erased")
        raise SelfTestError("the service does not pass", expected="all checks passed", found="; ".join(failed)[:300])


def _print(report: Report) -> None:
    """Print every figure with its limit."""
    for check in report.checks:
        sign = "<=" if check.at_most else ">="
        state = "ok  " if check.passed else "FAIL"
        figure = f"{check.found:.0f}" if check.unit not in ("mm", "Dice") else f"{check.found:.4f}"
        typer.echo(f"{state}  {check.name:<46} {figure:>8} {sign} {check.limit:g} {check.unit}")
    model = report.model
    typer.echo(f"model {model['name']} {model['version']}, digest {model['digest']}, on {report.device}")
    typer.echo(f"from sending to result: {', '.join(f'{seconds:.1f} s' for seconds in report.seconds)}")
    typer.echo("passed" if report.passed else "FAILED")
