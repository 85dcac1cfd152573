"""The sub-commands `cochlear serve`, `cochlear api` and `cochlear submit`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.commands import DataDir, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.client import Job


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Run the whole service on this machine: Redis (unless COCHLEAR_REDIS_URL names one), a worker, HTTP."""
    # Imported here, as `cochlear submit` and --help need none of it.
    from api.supervisor import serve as run

    run(load_settings(data_dir), host, port, lambda url: typer.echo(f"cochlear is ready at {url} (Ctrl-C stops it)"))


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Run HTTP alone, for the workers of the Redis server named by COCHLEAR_REDIS_URL."""
    from api.server import run_api

    run_api(load_settings(data_dir), host, port, lambda url: typer.echo(f"cochlear listens at {url} (Ctrl-C stops it)"))


def submit(
    ear: Annotated[Path, typer.Argument(help="NIfTI file of the ear.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)],
    landmarks: Annotated[Path | None, typer.Option(help="JSON file of landmarks; needed for a raw CT.")] = None,
    side: Annotated[str | None, typer.Option(help="left or right.")] = None,
    bundle: Annotated[str | None, typer.Option(help="Name of a model bundle of the service.")] = None,
    url: Annotated[str, typer.Option(help="Address of the service.", envvar="COCHLEAR_URL")] = "http://127.0.0.1:8000",
    formats: Annotated[str | None, typer.Option(help="Mesh formats, separated by commas.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            help="API key, where the service asks for one; process lists show it here, not in the variable.",
            envvar="COCHLEAR_API_KEY",
            show_envvar=True,
        ),
    ] = None,
) -> None:
    """Send an ear to a running service, wait, and download the results."""
    from api.client import CochlearClient

    with CochlearClient(url, api_key=api_key) as client:
        chosen = None if formats is None else formats.split(",")
        job = client.submit(ear, landmarks=landmarks, side=side, bundle=bundle, formats=chosen)
        typer.echo(f"job {job['id']}")
        with progress_bar() as show:
            job = client.wait(job["id"], show)
        files = client.download(job, out)
    for warning in job["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{len(files)} files in {out}")


@contextmanager
def progress_bar() -> Iterator[Callable[[Job], None]]:
    """Give what shows a job's progress; it shows nothing when the output is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("queued", total=1.0)

        def show(job: Job) -> None:
            position = job.get("queue_position")
            label = f"queued ({position})" if position else str(job.get("stage") or job["state"])
            progress.update(task, completed=float(job["progress"]), description=label)

        yield show
