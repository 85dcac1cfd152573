"""`python -m model.study`; see `model.study.command`."""

import typer

from model.cli.errors import run_app
from model.study.command import study

if __name__ == "__main__":  # processes of the study import this module again
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(study)
    run_app(app)
