"""The edge of the command line: errors become one clear line and an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from model.errors import CochlearError, InputError

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2


def run_app(app: typer.Typer) -> NoReturn:
    """Run a typer application and leave the process: 0 done, 1 run failed, 2 bad input or usage."""
    try:
        app()
    except InputError as error:
        _say(error)
        sys.exit(EXIT_BAD_INPUT)
    except CochlearError as error:
        _say(error)
        sys.exit(EXIT_FAILED)
    sys.exit(0)


def _say(error: CochlearError) -> None:
    """Print one line for an error."""
    line = " ".join(str(error).split())
    print(f"error: {line}", file=sys.stderr)
