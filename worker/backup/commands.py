"""The sub-commands `cochlear backup` and `cochlear restore`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from model.cli.progress import progress_bar
from model.errors import RunError
from worker.backup.restore import restore_backup
from worker.backup.write import write_backup
from worker.commands import DataDir, load_settings
from worker.data_folder import locked
from worker.embedded_redis import EmbeddedRedis, running_address
from worker.settings import Settings


class DamagedStoreError(RunError):
    """Some jobs have not the files they should have."""

    code = "damaged-store"
    title = "Files of the service are missing or damaged"


def backup(
    to: Annotated[Path, typer.Option(help="Tar file to write.", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Write all jobs, images, results and API keys into one file; the service may run meanwhile."""
    settings = load_settings(data_dir)
    with _redis_of(settings) as url, progress_bar("backup") as show:
        made = write_backup(settings, url, to, show)
    left = f", {len(made.erased)} erased meanwhile" if made.erased else ""
    typer.echo(f"{made.jobs} jobs{left}, {len(made.files)} files in {to}")
    if made.damaged:
        raise DamagedStoreError(
            "the backup is complete but for jobs whose files are missing or damaged",
            expected="the files that the records name",
            found=f"{len(made.damaged)} jobs without: {', '.join(made.damaged[:5])}",
        )


def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="File that `cochlear backup` wrote.")],
    data_dir: DataDir = None,
) -> None:
    """Restore a backup into an empty data folder (and Redis server, where one is named); the service must not run."""
    settings = load_settings(data_dir)
    with locked(settings), _started(settings) as url, progress_bar("restore") as show:
        held = restore_backup(settings, url, source, show)
    gone = f", {len(held.damaged)} of them without files" if held.damaged else ""
    typer.echo(f"{held.jobs - len(held.erased)} jobs{gone} are restored; start the service")


@contextmanager
def _redis_of(settings: Settings) -> Iterator[str]:
    """Give the address of the records: the server that is named, the one that runs, or one that is started for this."""
    address = settings.redis_url or running_address(settings.data_dir)
    if address is not None:
        yield address
        return
    with locked(settings), _started(settings) as url:
        yield url


@contextmanager
def _started(settings: Settings) -> Iterator[str]:
    """Give the address of the server that is named, or of one started on the data folder."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    with EmbeddedRedis(settings.data_dir) as redis:
        yield redis.url
