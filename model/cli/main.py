"""`cochlear`: all sub-commands; those of the service plug in by entry points, so that the model needs no service."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

from model.cli.commands import COMMANDS
from model.cli.errors import run_app

PLUGINS = "cochlear.commands"
"""Entry-point group of further sub-commands."""


def build_app() -> typer.Typer:
    """Put the sub-commands together."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Segment the modiolus, scalae and labyrinth in CT of ears. Research use only.",
    )
    found = sorted(entry_points(group=PLUGINS), key=lambda point: point.name)
    plugins = {plugin.name: plugin.load() for plugin in found}
    for name, command in (*COMMANDS.items(), *plugins.items()):
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main() -> None:
    """Run the command and exit with 0 (done), 1 (run failed) or 2 (bad input or usage)."""
    run_app(build_app())
