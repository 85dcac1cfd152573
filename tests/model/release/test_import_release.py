"""From the published files to a bundle that gives the published predictions."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import torch
from bundle_fixtures import sphere
from published_case import formula_state, formula_values
from support import shared_path
from typer.testing import CliRunner

from model.bundle import load_bundle
from model.cli.bundle import app
from model.errors import ReleaseError
from model.meshes.published import encode_published
from model.networks.published import PublishedRegistrationNet
from model.networks.registry import load_network
from model.registration.warp import warp_vertices
from model.release.atlas_files import read_release_image, read_release_meshes, scale_atlas_image
from model.release.importer import import_release
from model.release.names import registration_layers
from model.release.torch_file import read_state_dict

GRID = (16, 16, 24)
CODES = {"MD": 2.0, "ST": 3.0, "SV": 2.5, "CC": 6.0}


def published_state(network: PublishedRegistrationNet) -> dict[str, torch.Tensor]:
    """Give the formula state of a network under published names."""
    theirs = {ours: theirs for theirs, ours in registration_layers(network.levels).items()}
    state = formula_state(network)
    renamed = {"ddf_bias": state.pop("field_bias")}
    for name, tensor in state.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{theirs[layer]}.{kind}"] = tensor
    return renamed


def save_nifti(path: Path, values: npt.NDArray[np.float32]) -> None:
    """Write an image as the release does."""
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A made-up release of a tiny network: the labyrinth wound inward, the activation map of `chamfer`."""
    experiment, atlas = tmp_path / "Exp" / "checkpoints", tmp_path / "atlas"
    experiment.mkdir(parents=True)
    atlas.mkdir()
    network = PublishedRegistrationNet(base_width=4, levels=2)
    network.load_state_dict(formula_state(network))
    torch.save({"model": published_state(network), "optimizer": {"lr": 1e-3}}, experiment / "best.pth")
    meshes = {code: sphere((8, 8, 12), radius) for code, radius in CODES.items()}
    meshes["CC"] = meshes["CC"].flipped()
    for code, mesh in meshes.items():
        (atlas / f"atlas_{code}.mesh").write_bytes(encode_published(mesh, colour=(255, 0, 0)))
    vertices = np.concatenate([mesh.vertices for mesh in meshes.values()]).astype(np.float32)
    (atlas / "atlas_all_vtx.pkl").write_bytes(pickle.dumps(vertices))
    image = formula_values("atlas", GRID, 900.0, 700.0)
    save_nifti(atlas / "atlas.nii.gz", image.numpy())
    scaled = torch.from_numpy(scale_atlas_image(image.numpy()))[None, None]
    with torch.no_grad():
        activation = network.eval().first_activation(torch.zeros_like(scaled), scaled)
    save_nifti(atlas / "atlas_activation_map_chamfer.nii.gz", activation[0].numpy())
    return tmp_path


def imported(release: Path, method: str = "chamfer") -> Path:
    """Import the made-up release."""
    return import_release(release / "Exp", release / "atlas", method=method, name="made-up", to=release / "to")


def test_bundle_states_what_the_release_holds(release: Path) -> None:
    bundle = load_bundle(imported(release))
    assert bundle.manifest.network.parameters == {"base_width": 4, "levels": 2}
    assert bundle.manifest.network.input.atlas == "activation"
    assert bundle.frame.grid == GRID
    assert (bundle.sampler, bundle.intensity.rule) == ("published", "as_stored")
    assert dict(bundle.frame.landmarks_ijk) == {}


def test_all_surfaces_are_turned_outward(release: Path) -> None:
    meshes = load_bundle(imported(release)).atlas_meshes_ijk
    assert all(mesh.signed_volume > 0 for mesh in meshes.values())
    np.testing.assert_allclose(meshes["labyrinth"].vertices, sphere((8, 8, 12), 6.0).vertices, atol=1e-5)


def test_activation_and_image_give_the_same_field(release: Path) -> None:
    patient = formula_values("patient", (1, 1, *GRID), 0.9)
    fields = []
    for method in ("chamfer", "p2p"):
        bundle = load_bundle(imported(release, method))
        with torch.no_grad():
            fields.append(load_network(bundle)(patient, torch.from_numpy(bundle.atlas_input())[None]))
        assert bundle.atlas_input().shape[0] == (4 if method == "chamfer" else 1)
        (release / "to" / "made-up").rename(release / "to" / f"made-{method}")
    assert torch.allclose(fields[0], fields[1], atol=1e-4)


def rewrite_state(release: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the published weights."""
    path = release / "Exp" / "checkpoints" / "best.pth"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].pop("up1_bn2.weight"), "incomplete"),
        (lambda c: c["model"].update({"dp2_conv2.weight": torch.zeros(8, 8, 3, 3, 1)}), "encoders.1.second.conv"),
        (lambda c: c["model"].update({"dp1_conv2.bias": torch.full((4,), torch.nan)}), "NaN"),
        (lambda c: c["model"].update({"fc.weight": torch.zeros(1)}), "fc.weight"),
        (lambda c: c["model"].clear(), "tensors"),
        (lambda c: c.pop("model"), "tensors"),
        (lambda c: c.update(model={"conv11.weight": torch.zeros(1)}), "another network"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    release: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite_state(release, change)
    with pytest.raises(ReleaseError, match=message):
        imported(release)
    assert not (release / "to").exists()


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps({"model": 1}, 2)])
def test_file_that_is_no_torch_file_is_refused(release: Path, content: bytes) -> None:
    (release / "Exp" / "checkpoints" / "best.pth").write_bytes(content)
    with pytest.raises(ReleaseError):
        imported(release)


def test_torch_file_of_objects_is_refused(release: Path) -> None:
    path = release / "Exp" / "checkpoints" / "best.pth"
    torch.save({"model": {"a": Path}}, path)
    with pytest.raises(ReleaseError, match="tensors"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "name", ["atlas_MD.mesh", "atlas_CC.mesh", "atlas_all_vtx.pkl", "atlas_activation_map_chamfer.nii.gz"]
)
def test_damaged_atlas_file_is_named(release: Path, name: str) -> None:
    content = (release / "atlas" / name).read_bytes()
    (release / "atlas" / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ReleaseError, match=name):
        imported(release)


@pytest.mark.parametrize("name", ["atlas_ST.mesh", "atlas_all_vtx.pkl"])
def test_missing_atlas_file_is_named(release: Path, name: str) -> None:
    (release / "atlas" / name).unlink()
    with pytest.raises(ReleaseError, match=name):
        imported(release)


def test_missing_atlas_of_a_method_is_named(release: Path) -> None:
    (release / "atlas" / "atlas.nii.gz").unlink()
    with pytest.raises(ReleaseError, match="atlas_activation_map_p2p"):
        imported(release, "p2p")


def test_vertices_in_another_order_are_refused(release: Path) -> None:
    path = release / "atlas" / "atlas_all_vtx.pkl"
    path.write_bytes(pickle.dumps(np.roll(pickle.loads(path.read_bytes()), 1, axis=0)))  # noqa: S301
    with pytest.raises(ReleaseError, match="modiolus"):
        imported(release)


def test_vertices_beyond_the_grid_are_refused(release: Path) -> None:
    save_nifti(release / "atlas" / "atlas_activation_map_chamfer.nii.gz", np.ones((4, 8, 8, 8), np.float32))
    with pytest.raises(ReleaseError, match="leave the crop"):
        imported(release)


def test_activation_of_another_network_is_refused(release: Path) -> None:
    save_nifti(release / "atlas" / "atlas_activation_map_chamfer.nii.gz", np.ones((5, *GRID), np.float32))
    with pytest.raises(ReleaseError, match="4 channels"):
        imported(release)


def test_command_imports(release: Path) -> None:
    arguments = [str(release / "Exp"), str(release / "atlas"), "--name", "mine", "--to", str(release / "to")]
    result = CliRunner().invoke(app, ["import-release", *arguments])
    assert result.exit_code == 0, result.output
    assert load_bundle(release / "to" / "mine").name == "mine"


@pytest.mark.parametrize(
    ("method", "experiment"),
    [("chamfer", "Exp_task16-kcl-chamfer-reg4p0-post_1"), ("p2p", "Exp_task06-kcl-p2p-reg4p0-post_1")],
)
def test_imported_bundle_gives_the_published_predictions(tmp_path: Path, method: str, experiment: str) -> None:
    folder = shared_path("release")
    atlas = folder / "data" / "atlas"
    path = import_release(folder / "checkpoints" / experiment, atlas, method=method, name=method, to=tmp_path)
    bundle = load_bundle(path)
    patient = torch.from_numpy(read_release_image(folder / "ear.nii.gz"))[None, None]
    with torch.no_grad():
        ddf = load_network(bundle)(patient, torch.from_numpy(bundle.atlas_input())[None])[0]
    vertices = np.concatenate([mesh.vertices for mesh in bundle.atlas_meshes_ijk.values()])
    found = warp_vertices(torch.from_numpy(vertices), ddf, bundle.sampler).numpy()
    with np.load(folder / "expected.npz") as expected:
        np.testing.assert_allclose(ddf.numpy(), expected[f"{method}_ddf"], atol=1e-4)
        np.testing.assert_allclose(found, expected[f"{method}_vertices"], atol=1e-4)


def test_meshes_of_the_release_are_closed_and_outward() -> None:
    meshes = read_release_meshes(shared_path("release/data/atlas"))
    assert [len(mesh.vertices) for mesh in meshes.values()] == [162, 162, 162, 642]
    assert all(mesh.signed_volume > 0 for mesh in meshes.values())
