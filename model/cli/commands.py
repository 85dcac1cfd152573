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
    "synthesize": synthesize,
    "atlas": atlas,
    "bundle": bundle_app,
}
"""Sub-commands by name, in the order of the help."""
