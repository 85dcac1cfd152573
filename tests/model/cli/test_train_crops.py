"""`model-train` on a folder of six small crops: from the command to a bundle that serves a job, and what it refuses."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import Cochlear
from crop_fixtures import GRID, SIX, SPACING_MM, Shape, save, spheres, write_atlas_bundle, write_folders
from service_fixtures import Ear, Service, as_json, make_ear

from model.bundle import bundle_digest, load_bundle
from model.cli.train import main
from model.masks.voxelize import voxelize
from model.meshes.formats import read_mesh
from model.networks.registry import load_network
from model.structures import STRUCTURE_IDS
from model.training.config import read_config
from worker.jobs import JobState

CHAMFER = """
name = "unnamed"
loss_unit = "voxel"
[network]
class = "published_registration"
base_width = 4
levels = 2
[loss]
chamfer = 1.0
chamfer_points = 500
smoothness = 4.0
"""

SEGNET = """
name = "unnamed"
[network]
class = "segnet"
base_width = 4
"""

COARSE_TO_FINE = """
name = "unnamed"
[network]
class = "coarse_to_fine"
samples = 16
widths = [8, 8]
passes = 2
[loss]
point_to_point = 1.0
dice = 0.2
dice_by = "surface"
"""

COMMON = """
[optimiser]
optimiser = "adam"
learning_rate = 0.005
schedule = "constant"
epochs = 3
batch = 1
warm_up = 0.0
[trainer]
picture_every = 0
accelerator = "cpu"
workers = 0
"""


def model_train(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int | str | None:
    """Run the command in this process and give its exit code."""
    monkeypatch.setattr(sys, "argv", ["model-train", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return exit_info.value.code


class Workplace:
    """Six crops, an atlas, configurations, and the options that train on them."""

    def __init__(self, folder: Path, kind: str = "npz") -> None:
        """Write them."""
        self.folder, self.out = folder, folder / "bundles"
        self.images, self.vertices = write_folders(folder, SIX, kind)
        self.atlas = write_atlas_bundle(folder / "atlases")
        self.config = folder / "run.toml"
        self.config.write_text(CHAMFER + COMMON)

    def options(self, experiment: str = "mine", **changes: str | Path) -> list[str | Path]:
        """Give the options of a run, some of them changed."""
        named = {
            "images": self.images,
            "vertices": self.vertices,
            "atlas": self.atlas,
            "experiment": self.folder / "experiments" / experiment,
            "out": self.out,
            "config": self.config,
            **changes,
        }
        return [part for name, value in named.items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace with a finished run called `mine`."""
    place = Workplace(tmp_path_factory.mktemp("crops"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert model_train(monkeypatch, *place.options()) == 0
    return place


@pytest.fixture(scope="module")
def ear(tmp_path_factory: pytest.TempPathFactory) -> Ear:
    return make_ear(tmp_path_factory.mktemp("ear"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_run_learns_and_keeps_its_split(trained: Workplace) -> None:
    experiment = trained.folder / "experiments" / "mine"
    split = json.loads((experiment / "split.json").read_text())
    assert (len(split["train"]), len(split["validation"])) == (4, 2)
    assert sorted(split["train"] + split["validation"]) == sorted(SIX)
    losses = [float(row["loss"]) for row in table(experiment / "log" / "training.csv")]
    assert len(losses) == 12
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    validated = [float(row["validation_loss"]) for row in table(experiment / "log" / "validation.csv")]
    stated = load_bundle(trained.out / "mine").manifest.training.details
    assert stated["validation_loss"] == pytest.approx(min(validated))
    assert (stated["training_cases"], stated["validation_cases"]) == (4, 2)


def test_the_bundle_has_the_atlas_and_what_raw_ct_needs(trained: Workplace) -> None:
    bundle, atlas = load_bundle(trained.out / "mine"), load_bundle(trained.atlas)
    assert bundle.name == "mine"
    assert bundle.frame == atlas.frame
    assert bundle.intensity == atlas.intensity
    for name, mesh in spheres().items():
        np.testing.assert_allclose(bundle.atlas_meshes_ijk[name].vertices, mesh.vertices, atol=1e-5)
    np.testing.assert_allclose(bundle.atlas_image(), Shape().image(), atol=1e-3)
    assert load_network(bundle).base_width == 4
    assert not any(name in (bundle.path / "bundle.json").read_text() for name in SIX)


def test_segment_runs_the_bundle_on_a_crop_and_on_raw_ct(
    trained: Workplace, ear: Ear, cochlear: Cochlear, tmp_path: Path
) -> None:
    bundle: list[str | Path] = ["--bundle", trained.out / "mine"]
    ran = cochlear("segment", trained.images / "ear0.nii.gz", "--out", tmp_path / "crop", *bundle)
    assert ran.code == 0, ran.err
    mesh = read_mesh(tmp_path / "crop" / "meshes" / "labyrinth.vtk")
    # Canonical voxels of a left ear are LPS millimetres but for the spacing.
    centre = mesh.vertices.mean(0) / SPACING_MM
    assert np.linalg.norm(centre - SIX["ear0"].vertices()["labyrinth"].mean(0)) < 3
    ran = cochlear("segment", ear.image, "--landmarks", ear.landmarks, "--out", tmp_path / "raw", *bundle)
    assert ran.code == 0, ran.err
    assert (tmp_path / "raw" / "masks" / "labels.nii.gz").is_file()


def test_the_bundle_serves_a_job(trained: Workplace, ear: Ear, tmp_path: Path) -> None:
    with Service(tmp_path, trained.out, COCHLEAR_BUNDLE="mine", COCHLEAR_STALE_AFTER_S="60") as service:
        raw = service.submit(ear, formats="ply")
        crop = service.http.post("/v1/jobs", files={"image": (trained.images / "ear1.nii.gz").read_bytes()})
        assert crop.status_code == 202, crop.text
        for job in (raw, as_json(crop)):
            record = service.wait_for(job["id"], lambda record: record.state.finished, timeout_s=120)
            assert record.state is JobState.SUCCEEDED
            assert record.bundle == "mine"
            assert {f"masks/{name}.nii.gz" for name in STRUCTURE_IDS} <= set(record.files)


def test_the_same_run_ends_in_the_same_bundle_and_another_is_refused(
    trained: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = bundle_digest(trained.out / "mine")
    assert model_train(monkeypatch, *trained.options()) == 0  # finished already
    assert bundle_digest(trained.out / "mine") == before
    # A second run from nothing gives the same weights.
    again = trained.options(experiment="again/mine", out=tmp_path)
    assert model_train(monkeypatch, *again) == 0
    weights = [(folder / "mine" / "weights.safetensors").read_bytes() for folder in (trained.out, tmp_path)]
    assert weights[0] == weights[1]
    capsys.readouterr()
    assert model_train(monkeypatch, *again, "--seed", "7") == 2
    assert "bundle of that name" in capsys.readouterr().err
    assert model_train(monkeypatch, *trained.options(experiment="again/mine", out=tmp_path / "new"), "--seed", "7") == 2
    assert "experiment folder is of another run" in capsys.readouterr().err
    assert model_train(monkeypatch, *again, "--seed", "7", "--steps", "1", "--force") == 0
    assert (tmp_path / "mine" / "weights.safetensors").read_bytes() != weights[0]
    assert bundle_digest(trained.out / "mine") == before


def test_segnet_is_trained_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, cochlear: Cochlear, tmp_path: Path
) -> None:
    place = Workplace(tmp_path, "masks")
    place.config.write_text(SEGNET + COMMON)
    assert model_train(monkeypatch, *place.options("net")) == 0
    losses = [float(row["loss"]) for row in table(tmp_path / "experiments" / "net" / "log" / "training.csv")]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    ran = cochlear("segment", place.images / "ear0.nii.gz", "--out", tmp_path / "r", "--bundle", place.out / "net")
    assert ran.code == 0, ran.err
    assert (tmp_path / "r" / "masks" / "labels.nii.gz").is_file()


def test_a_coarse_to_fine_network_is_trained_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, cochlear: Cochlear, tmp_path: Path
) -> None:
    place = Workplace(tmp_path)
    place.config.write_text(COARSE_TO_FINE + COMMON)
    assert model_train(monkeypatch, *place.options("net"), "--epochs", "12") == 0
    rows = table(tmp_path / "experiments" / "net" / "log" / "training.csv")
    before, after = (np.array([float(row[name]) for row in rows[-8:]]) for name in ("before", "after"))
    assert after.mean() < 0.9 * before.mean()
    assert load_bundle(place.out / "net").manifest.network.parameters["region"] == [4, 27]
    ran = cochlear("segment", place.images / "ear0.nii.gz", "--out", tmp_path / "r", "--bundle", place.out / "net")
    assert ran.code == 0, ran.err
    mesh = read_mesh(tmp_path / "r" / "meshes" / "labyrinth.vtk")
    assert np.linalg.norm(mesh.vertices.mean(0) / SPACING_MM - SIX["ear0"].vertices()["labyrinth"].mean(0)) < 3


def test_a_case_with_masks_may_be_the_atlas_and_points_may_be_pickled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = Workplace(tmp_path, "pkl")
    (place.vertices / "ear0.pkl").unlink()
    save(place.vertices / "ear0_labyrinth.nii.gz", voxelize(spheres()["labyrinth"], (GRID,) * 3).astype(np.uint8))
    for name in list(SIX)[1:]:
        points = SIX[name].vertices()["labyrinth"]
        (place.vertices / f"{name}.pkl").write_bytes(pickle.dumps(points))
    assert model_train(monkeypatch, *place.options("cased", atlas="ear0"), "--steps", "1") == 0
    bundle = load_bundle(place.out / "cased")
    assert list(bundle.atlas_meshes_ijk) == ["labyrinth"]
    assert bundle.frame.grid == (GRID,) * 3
    assert bundle.manifest.intensity.rule == "as_stored"


def test_without_a_configuration_it_trains_as_published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    options = place.options("published")[:-2]
    assert model_train(monkeypatch, *options, "--steps", "1", "--device", "cpu") == 0
    manifest = load_bundle(place.out / "published").manifest
    assert manifest.network.class_name == "published_registration"
    assert manifest.weights.values > 3_836_838  # all parameters of the published size, and the running statistics


def test_overrides_are_kept_apart_from_the_rest(tmp_path: Path) -> None:
    from model.cli.train_options import Overrides

    (tmp_path / "run.toml").write_text(CHAMFER + COMMON)
    config = read_config(tmp_path / "run.toml")
    changed = Overrides(seed=5, steps=7, device="cuda", precision="bf16-mixed").apply(config)
    assert (changed.seed, changed.optimiser.steps, changed.optimiser.epochs) == (5, 7, None)
    assert (changed.trainer.accelerator, changed.trainer.precision) == ("gpu", "bf16-mixed")
    assert (changed.loss, changed.network, changed.optimiser.learning_rate) == (config.loss, config.network, 0.005)
    assert Overrides().apply(config) == config


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("untrained"))


@pytest.mark.parametrize(
    ("left_out", "added", "said"),
    [
        (("vertices",), (), "--images and --vertices"),
        (("images",), (), "--images and --vertices"),
        (("images", "vertices"), (), "--config and --ears"),
        (("images", "vertices", "config"), (), "none of them"),
        ((), ("--ears", "ears"), "options of both"),
        ((), ("--scores", "scores.json"), "options of both"),
        ((), ("--steps", "1", "--epochs", "1"), "stated twice"),
        ((), ("--device", "tpu"), "device"),
        ((), ("--precision", "64"), "precision"),
        (("atlas",), ("--atlas", "no-such-atlas"), "atlas"),
        (("atlas",), ("--atlas", "ear0"), "points without triangles"),
        (("experiment",), ("--experiment", "no name!"), "name of the experiment"),
        (("config",), ("--config", "none.toml"), "configuration"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    untrained: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    left_out: tuple[str, ...],
    added: tuple[str, ...],
    said: str,
) -> None:
    pairs = untrained.options()
    kept = [
        part
        for name, value in zip(pairs[::2], pairs[1::2], strict=True)
        for part in (name, value)
        if str(name)[2:] not in left_out
    ]
    assert model_train(monkeypatch, *kept, *added) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert not untrained.out.exists()
    assert not (untrained.folder / "experiments").exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("chamfer = 1.0\npoint_to_point = 1.0", "corresponding"),
        ("chamfer = 1.0\ndice = 1.0", "masks"),
        ("", "segnet needs masks"),
    ],
)
def test_losses_that_the_cases_cannot_serve_are_refused(
    untrained: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    section: str,
    said: str,
) -> None:
    vertices = tmp_path / "vertices"
    shutil.copytree(untrained.vertices, vertices)
    np.savez(vertices / "ear3.npz", vertices=np.concatenate(list(SIX["ear3"].vertices().values()))[::2])
    config = tmp_path / "run.toml"
    config.write_text((CHAMFER.replace("chamfer = 1.0", section) if section else SEGNET) + COMMON)
    assert model_train(monkeypatch, *untrained.options(vertices=vertices, config=config)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "ear3" in error
    assert "ear2" not in error
    assert not (untrained.folder / "experiments").exists()


def test_bad_data_and_networks_that_do_not_fit_are_named_before_training(
    untrained: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    vertices = tmp_path / "vertices"
    shutil.copytree(untrained.vertices, vertices)
    (vertices / "ear1.npz").unlink()
    (vertices / "ear9.pkl").write_bytes(b"")
    assert model_train(monkeypatch, *untrained.options(vertices=vertices)) == 2
    error = capsys.readouterr().err
    assert "ear1: no vertices" in error
    assert "ear9: vertices without" in error
    config = tmp_path / "run.toml"
    config.write_text(CHAMFER.replace("levels = 2", "levels = 6") + COMMON)
    assert model_train(monkeypatch, *untrained.options(config=config)) == 2
    assert "32 x 32 x 32" in capsys.readouterr().err
    assert not (untrained.folder / "experiments").exists()


def test_folders_of_other_things_are_left_alone(
    untrained: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for option, said in (("experiment", "experiment folder holds other things"), ("out", "bundle holds other things")):
        folder = tmp_path / option / "notes"
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("keep me")
        options = untrained.options("notes")
        options[options.index(f"--{option}") + 1] = folder if option == "experiment" else tmp_path / option
        assert model_train(monkeypatch, *options, "--force") == 2
        assert said in capsys.readouterr().err
        assert [path.name for path in folder.iterdir()] == ["notes.txt"]
