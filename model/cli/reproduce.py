"""`cochlear reproduce`: the published predictions from the published activation maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model.bundle import find_bundle, load_bundle
from model.cli.progress import progress_bar
from model.errors import OptionError, ReleaseError, RunError

if TYPE_CHECKING:
    from model.reproduce.predictor import MapPredictor
    from model.reproduce.run import Reproduced

_FAILED_SHOWN = 3
_REASON_LENGTH = 90


def reproduce(
    activation_maps: Annotated[
        Path, typer.Option(help="Published data/activation_maps, or the method's folder in it, of <case>.nii.gz.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for mask/<method>/ and mesh/<method>/; a run resumes from it.")],
    bundle: Annotated[
        str | None, typer.Option(help="Model bundle that `cochlear bundle import-release` wrote: a name or a path.")
    ] = None,
    nnunet_model: Annotated[
        Path | None, typer.Option(help="Instead of a bundle: folder that holds the trained nnU-Net (version 1).")
    ] = None,
    nnunet_task: Annotated[
        int | None,
        typer.Option(help="602 (modiolus), 604 (scalae) or 606 (labyrinth) [default: by the folder's name]."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Compute all cases anew, in place of earlier results.")
    ] = False,
) -> None:
    """Recompute the published meshes and masks of all test cases from their first-layer activations.

    The rest of the network comes from a bundle, or for nnU-Net from its trained model, one task at a time.
    Cases whose files are all there are skipped, so that a run that was stopped goes on; a case whose map cannot be used
    is named at the end, after all others.
    """
    predictor = _predictor(bundle, nnunet_model, nnunet_task, device)
    from model.reproduce.run import reproduce as reproduce_cases

    with progress_bar("look") as show:
        result = reproduce_cases(activation_maps, predictor, out, force=force, progress=show)
    _print(result)
    _raise_failures(result)


def _predictor(bundle: str | None, nnunet_model: Path | None, nnunet_task: int | None, device: str) -> MapPredictor:
    """Load the network that the options name."""
    wrong = OptionError("one network at a time", expected="--bundle, or --nnunet-model with or without --nnunet-task")
    if bundle is not None:
        if nnunet_model is not None or nnunet_task is not None:
            raise wrong
        loaded = load_bundle(find_bundle(bundle))
        # Bad input is refused before the network library is loaded.
        from model.device import resolve_device
        from model.reproduce.predictors import predictor_of_bundle

        return predictor_of_bundle(loaded, resolve_device(device))
    if nnunet_model is None:
        raise wrong
    from model.device import resolve_device
    from model.reproduce.nnunet import predictor_of_nnunet

    return predictor_of_nnunet(nnunet_model, nnunet_task, resolve_device(device))


def _print(result: Reproduced) -> None:
    """Print how many cases were computed, skipped and failed, and why the latter did."""
    table = Table("method", "computed", "there already", "failed", box=None, header_style="bold", pad_edge=False)
    table.add_row(result.method, *(str(len(cases)) for cases in (result.done, result.skipped, result.failed)))
    Console().print(table)
    for case, error in result.failed.items():
        Console().print(f"{escape(case)}: {escape(str(error))}", soft_wrap=True, highlight=False)


def _raise_failures(result: Reproduced) -> None:
    """Say in one line which cases failed.

    Raises:
        ReleaseError: all of them.
        RunError: some of them.
    """
    if not result.failed:
        return
    names = [f"{case} ({str(error)[:_REASON_LENGTH]})" for case, error in result.failed.items()]
    if len(names) > _FAILED_SHOWN:
        names[_FAILED_SHOWN:] = [f"and {len(names) - _FAILED_SHOWN} more, listed above"]
    total = len(result.done) + len(result.skipped) + len(result.failed)
    detail = f"{len(result.failed)} of {total} cases could not be recomputed"
    kind = RunError if result.done or result.skipped else ReleaseError
    raise kind(detail, found=", ".join(names))
