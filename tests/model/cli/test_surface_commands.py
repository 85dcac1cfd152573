"""The commands voxelize, mesh and evaluate, one after another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import typer
from segmentations import oblique_volume, save_nifti
from surfaces import sphere
from typer.testing import CliRunner

from model.cli.evaluate import evaluate
from model.cli.mesh import mesh
from model.cli.voxelize import voxelize
from model.errors import MeshError
from model.meshes.formats import read_mesh, write_mesh

app = typer.Typer()
for command in (voxelize, mesh, evaluate):
    app.command()(command)


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_surface_is_converted_voxelized_and_judged(tmp_path: Path) -> None:
    volume = oblique_volume()
    image, lps, published = tmp_path / "ct.nii.gz", tmp_path / "ball.vtk", tmp_path / "ball.mesh"
    save_nifti(image, volume.data, volume.affine)
    ball = sphere(4.0, (-40, 25, 12), space="lps")
    write_mesh(ball, lps)
    assert "ijk" in run("mesh", lps, published, "--like", image)
    header = np.frombuffer(published.read_bytes()[:40], "<i4")
    assert header[7:].tolist() == list(volume.shape)
    run("mesh", published, tmp_path / "back.ply", "--space", "ras", "--like", image)
    back = read_mesh(tmp_path / "back.ply")
    assert back.space == "ras"
    assert np.abs(back.vertices - ball.vertices * [-1, -1, 1]).max() < 1e-4
    for source in (lps, published):
        run("voxelize", source, "--like", image, "--out", tmp_path / f"{source.suffix[1:]}.nii.gz")
    scores = json.loads(run("evaluate", tmp_path / "vtk.nii.gz", tmp_path / "mesh.nii.gz", "--json"))
    assert scores["mask"]["dice"] > 0.999
    assert abs(scores["mask"]["volume_mm3"] / ball.signed_volume - 1) < 0.01
    assert "point_to_point_mm" in run("evaluate", lps, tmp_path / "back.ply")


def test_errors_reach_the_caller(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["mesh", str(tmp_path / "none.stl"), str(tmp_path / "out.vtk")])
    assert isinstance(result.exception, MeshError)
    assert not (tmp_path / "out.vtk").exists()
