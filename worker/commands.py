"""The sub-command `cochlear worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.settings import Settings

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of uploads and results (default: COCHLEAR_DATA_DIR or data).")
]


def load_settings(data_dir: Path | None = None) -> Settings:
    """Read the settings of the environment, with a folder given on the command line taking precedence."""
    return Settings() if data_dir is None else Settings(data_dir=data_dir)


def worker(data_dir: DataDir = None) -> None:
    """Run one worker that takes jobs from the Redis server named by COCHLEAR_REDIS_URL."""
    from worker.service import WorkerService

    code = WorkerService(load_settings(data_dir)).run()
    if code:
        raise typer.Exit(1)
