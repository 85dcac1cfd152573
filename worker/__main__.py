"""`python -m worker`: what `cochlear serve` starts; the same as `cochlear worker`."""

import sys

import typer

from model.errors import CochlearError, InputError
from worker.commands import worker

if __name__ == "__main__":
    try:
        typer.run(worker)
    except CochlearError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
