"""The data folder, which one service at a time may use."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from model.errors import InputError
from worker.settings import Settings


class DataFolderError(InputError):
    """The data folder cannot be used."""

    code = "data-folder"
    title = "The data folder cannot be used"


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Hold the data folder for this service alone; the kernel releases it however the process ends.

    Raises:
        DataFolderError: another service runs on it, or it cannot be written.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (settings.data_dir / "serve.lock").open("w")
    except OSError as error:
        raise DataFolderError(
            "the data folder cannot be written", expected="a folder of your own", found=str(error.strerror).lower()
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataFolderError(
                "another service runs on this data folder",
                expected="one service per data folder",
                found="a running one",
                hint="stop it, or give another --data-dir",
            ) from error
        yield
