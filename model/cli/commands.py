"""The table of sub-commands that the model itself has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from model.cli.atlas import atlas
from model.cli.bundle import app as bundle_app
from model.cli.crop import crop
from model.cli.evaluate import evaluate
from model.cli.mesh import mesh
from model.cli.register_mesh import register_mesh
from model.cli.reproduce import reproduce
from model.cli.reproduce_figures import reproduce_figures
from model.cli.segment import segment
from model.cli.synthesize import synthesize
from model.cli.voxelize import voxelize

COMMANDS: Mapping[str, Callable[..., None] | typer.Typer] = {
    "segment": segment,
    "crop": crop,
    "voxelize": voxelize,
    "mesh": mesh,
    "register-mesh": register_mesh,
    "evaluate": evaluate,
    "reproduce-figures": reproduce_figures,
    "synthesize": synthesize,
    "atlas": atlas,
    "reproduce": reproduce,
    "bundle": bundle_app,
}
"""Sub-commands by name, in the order of the help."""
