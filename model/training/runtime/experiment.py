"""An experiment folder belongs to one run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import InputError

RECORD_FILE = "run.json"


def claim_experiment(folder: Path, run: Mapping[str, Any], *, force: bool = False) -> bool:
    """Note in an experiment folder which run it is of, so that no other run takes up its cases and checkpoints.

    Args:
        folder: the experiment; made when it is not there.
        run: all that makes the run what it is, as JSON values.
        force: whether the folder of another run is emptied and taken over.

    Returns:
        Whether the folder was of this run already, which then goes on.

    Raises:
        InputError: the folder is of another run and `force` is not set, or it holds other things than a run.
    """
    record = folder / RECORD_FILE
    text = json.dumps(run, indent=1, sort_keys=True, allow_nan=False) + "\n"
    if record.is_file():
        if _read(record) == json.loads(text):
            return True
        if not force:
            raise InputError(
                "the experiment folder is of another run",
                expected="the configuration, atlas and cases it was started with",
                hint="choose a new folder, give what it was started with, or say --force to lose the earlier run",
            )
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "the experiment folder holds other things than a run",
            expected="a new or empty folder, or one of a run",
            hint="choose a new folder",
        )
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(text, encoding="utf-8")
    return False


def _read(record: Path) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Read a record; a damaged one is that of no run."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
