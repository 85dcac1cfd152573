"""The sub-commands `cochlear batch`, `cochlear wait` and `cochlear get`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands import progress_bar
from model.errors import InputError, RunError

if TYPE_CHECKING:
    from api.client import Batch, CochlearClient

Url = Annotated[str, typer.Option(help="Address of the service.", envvar="COCHLEAR_URL")]
Out = Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)]
JobId = Annotated[str, typer.Argument(help="Id of the job.", show_default=False)]

_URL = "http://127.0.0.1:8000"
_LOOK_EVERY_S = 1.0
_SUFFIXES = (".nii.gz", ".nii")


class BatchError(RunError):
    """Not all ears of a batch have results."""

    code = "batch-incomplete"
    title = "Not all ears have results"


def batch(
    ears: Annotated[list[Path], typer.Argument(help="NIfTI files of the ears.", show_default=False)],
    out: Out,
    landmarks_suffix: Annotated[str, typer.Option(help="X.nii.gz has its landmarks in X and this.")] = ".json",
    side: Annotated[str | None, typer.Option(help="left or right, when all ears are of one side.")] = None,
    bundle: Annotated[str | None, typer.Option(help="Name of a model bundle of the service.")] = None,
    formats: Annotated[str | None, typer.Option(help="Mesh formats, separated by commas.")] = None,
    url: Url = _URL,
) -> None:
    """Send many ears to a running service, wait, and download results and a table of measurements.

    The landmarks of X.nii.gz are taken from X.json, otherwise from landmarks.json beside it, otherwise there are none.
    """
    from api.client import CochlearClient

    names = _names(ears)
    given = {"side": side, "bundle": bundle, "formats": formats}
    fields = {name: value for name, value in given.items() if value is not None}
    entries = [_entry(ear, landmarks_suffix) for ear in ears]
    with CochlearClient(url) as client:
        sent = client.submit_batch(ears, entries, **fields)
        typer.echo(f"batch {sent['id']}")
        ended = _wait(client, sent)
        for item, name in zip(ended["items"], names, strict=True):
            if item["state"] == "succeeded":
                client.download(client.job(item["job"]), out / name)
            else:
                problem = item["problem"] or {}
                typer.echo(f"{name}: {item['state']}: {problem.get('detail', 'no result')}", err=True)
        out.mkdir(parents=True, exist_ok=True)
        (out / "measurements.csv").write_text(client.batch_csv(sent["id"]), encoding="utf-8", newline="")
    done = ended["counts"].get("succeeded", 0)
    typer.echo(f"{done} of {ended['total']} ears in {out}")
    if done < ended["total"]:
        raise BatchError("some ears have no result", expected=f"{ended['total']} results", found=str(done))


def wait(job: JobId, url: Url = _URL) -> None:
    """Wait until a job has ended; fails when it did not succeed."""
    from api.client import CochlearClient

    with CochlearClient(url) as client, progress_bar() as show:
        client.wait(job, show)


def get(job: JobId, out: Out, url: Url = _URL) -> None:
    """Download the results of a job that has succeeded."""
    from api.client import CochlearClient

    with CochlearClient(url) as client:
        found = client.job(job)
        if found["state"] != "succeeded":
            raise RunError("the job has no results", expected="a job that has succeeded", found=str(found["state"]))
        files = client.download(found, out)
    typer.echo(f"{len(files)} files in {out}")


def _wait(client: CochlearClient, sent: Batch) -> Batch:
    """Wait until all jobs of a batch have ended."""
    with progress_bar() as show:
        while True:
            now = client.batch(sent["id"])
            show({"state": "batch", "progress": now["done"]})
            if now["done"] >= 1:
                return now
            time.sleep(_LOOK_EVERY_S)


def _names(ears: Sequence[Path]) -> list[str]:
    """Give a folder name for the results of each ear.

    Raises:
        InputError: when two ears would share one.
    """
    names = [
        next((ear.name.removesuffix(end) for end in _SUFFIXES if ear.name.endswith(end)), ear.name) for ear in ears
    ]
    if len(set(names)) != len(names):
        raise InputError("two ears have one name", expected="files of different names", found="several of one name")
    return names


def _entry(ear: Path, suffix: str) -> dict[str, Any]:
    """Give the manifest's entry of an ear: its landmarks, where there are some.

    Raises:
        InputError: when they are no JSON.
    """
    own = ear.with_name(_names([ear])[0] + suffix)
    for path in (own, ear.with_name("landmarks.json")):
        if path.is_file():
            try:
                return {"landmarks": json.loads(path.read_text(encoding="utf-8"))}
            except ValueError as error:
                raise InputError("a file of landmarks is no JSON", expected="JSON", field="landmarks") from error
    return {}
