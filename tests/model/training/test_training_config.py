"""Configurations of training runs."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from model.bundle.schema import NetworkSection
from model.errors import InputError
from model.networks.registry import build_network
from model.training import config as configurations
from model.training.config import TrainingConfig, read_config
from model.training.network_sections import CoarseToFineParameters, PublishedParameters
from model.training.networks import make_network
from model.training.runtime.length import run_length
from model.training.runtime.optimisation import optimisation

RUNS = Path(configurations.__file__).parent / "runs"


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_run_is_read(tmp_path: Path) -> None:
    text = 'name = "a"\nseed = 3\n[optimiser]\nsteps = 7\n[network]\nwidths = [8, 16]\n[refinement]\nsteps = 5\n'
    config = read_config(write(tmp_path, text))
    assert isinstance(config.network, CoarseToFineParameters)
    assert (config.name, config.seed, config.optimiser.steps, config.network.widths) == ("a", 3, 7, (8, 16))
    assert config.refinement == {"steps": 5}
    assert config.data.synthetic == 400
    # What a bundle states of its training can be read again.
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("path", sorted(RUNS.rglob("*.toml")), ids=lambda path: str(path.relative_to(RUNS)))
def test_every_run_of_the_repository_can_be_made(path: Path) -> None:
    config = read_config(path)
    grid = (128, 128, 128)
    network = make_network(config.model_copy(update={"initial": None}), grid)
    assert sum(value.numel() for value in network.parameters()) > 1e4
    section = NetworkSection(class_name=config.network.class_name, parameters=config.network.parameters(grid[0]))
    again = build_network(section)
    assert {n: v.shape for n, v in again.state_dict().items()} == {n: v.shape for n, v in network.state_dict().items()}


def test_the_published_run_is_as_published() -> None:
    config = read_config(RUNS / "published.toml")
    assert isinstance(config.network, PublishedParameters)
    network = make_network(config, (128, 128, 128))
    assert sum(value.numel() for value in network.parameters()) == 3_836_838
    weights = {name: value for name, value in config.loss.model_dump().items() if isinstance(value, float) and value}
    assert weights == {"chamfer": 1.0, "smoothness": 4.0}
    assert (config.loss.chamfer_points, config.loss.concatenated) == (10_000, True)
    assert (config.loss_unit, config.sampler) == ("voxel", "published")
    assert (config.optimiser.optimiser, config.optimiser.learning_rate, config.optimiser.batch) == ("adam", 1e-3, 1)
    assert (config.crops.rotation_deg, config.crops.validation_share) == (15.0, 0.2)
    length = run_length(config.optimiser, config.trainer, cases=17)
    assert (length.steps, length.validate_every) == (200 * 17, 17)
    optimiser = optimisation(network.parameters(), config.optimiser, length.steps)
    rates = []
    for _ in range(3):
        rates.append(optimiser["optimizer"].param_groups[0]["lr"])
        optimiser["optimizer"].step()
        optimiser["lr_scheduler"]["scheduler"].step()
    assert rates == [1e-3] * 3


def test_the_ablation_has_its_eight_combinations() -> None:
    terms = ("dice", "mse", "ncc")
    found = {
        tuple(getattr(config.loss, name) for name in terms)
        for config in map(read_config, (RUNS / "ablation").glob("chamfer*.toml"))
        if config.loss.chamfer == 1 and config.loss.smoothness == 4
    }
    assert found == set(product((0.0, 1.0), repeat=3))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "name"),
        ("name = ", "end of document"),
        ('name = "no/name"\n', "name"),
        ('name = "a"\nunknown = 1\n', "unknown"),
        ('name = "a"\nseed = -1\n', "seed"),
        ('name = "a"\nversion = ""\n', "version"),
        ('name = "a"\n[optimiser]\nsteps = 0\n', "optimiser.steps"),
        ('name = "a"\n[optimiser]\nsteps = 5\nepochs = 5\n', "steps or epochs"),
        ('name = "a"\n[optimiser]\nlearning_rate = -1.0\n', "optimiser.learning_rate"),
        ('name = "a"\n[optimiser]\nlearning_rate = nan\n', "optimiser.learning_rate"),
        ('name = "a"\n[optimiser]\nstep = 5\n', "optimiser.step"),
        ('name = "a"\n[optimiser]\noptimiser = "sgd"\n', "optimiser.optimiser"),
        ('name = "a"\n[optimiser]\noptimiser = "adam"\nweight_decay = 0.1\n', "weight_decay"),
        ('name = "a"\n[optimiser]\nschedule = "step"\n', "optimiser.schedule"),
        ('name = "a"\n[optimiser]\nschedule = "plateau"\nwarm_up = 0.5\n', "warm_up"),
        ('name = "a"\n[optimiser]\nwarm_up = 0.0\n', "warm_up"),
        ('name = "a"\n[optimiser]\nclip = -1.0\n', "optimiser.clip"),
        ('name = "a"\n[trainer]\nprecision = "8-bit"\n', "trainer.precision"),
        ('name = "a"\n[trainer]\ndevices = 0\n', "trainer.devices"),
        ('name = "a"\n[trainer]\nema_decay = 1.0\n', "trainer.ema_decay"),
        ('name = "a"\n[trainer]\nearly_stopping = -1\n', "trainer.early_stopping"),
        ('name = "a"\n[data]\nshares = [1.0, 2.0]\n', "data.shares"),
        ('name = "a"\n[data]\nshares = [0.0, 0.0, 0.0]\n', "data.shares"),
        ('name = "a"\n[data]\nshares = [1.0, -1.0, 1.0]\n', "data.shares"),
        ('name = "a"\n[data]\nimplant_share = 1.5\n', "data.implant_share"),
        ('name = "a"\n[data]\nspacing_mm = 0.3\n', "data.spacing_mm"),
        ('name = "a"\n[data]\nsynthetic = 4\nvalidation = 4\n', "validation"),
        ('name = "a"\n[network]\nclass = "unet"\n', "network"),
        ('name = "a"\n[network]\nwidths = "wide"\n', "widths"),
        ('name = "a"\n[network]\nwidths = [8, 12]\n', "widths"),
        ('name = "a"\n[network]\nsamples = 50\n', "samples"),
        ('name = "a"\n[network]\nfinest = 3\n', "finest"),
        ('name = "a"\n[network]\nclass = "segnet"\nbase_width = 7\n', "base_width"),
        ('name = "a"\n[network]\nclass = "segnet"\n[loss]\nchamfer = 1.0\n', "loss"),
        ('name = "a"\n[segmentation]\ndice = 2.0\n', "segmentation"),
        ('name = "a"\n[network]\nclass = "segnet"\n[segmentation]\ndice = 0.0\ncross_entropy = 0.0\n', "dice"),
        ('name = "a"\n[loss]\nchamfer = 0.0\n', "loss"),
        ('name = "a"\n[loss]\nchamfer = -1.0\n', "loss.chamfer"),
        ('name = "a"\n[loss]\nbones = 1.0\n', "loss.bones"),
        ('name = "a"\n[passes]\nsingle = 2.0\n', "passes.single"),
        ('name = "a"\n[crops]\nvalidation_share = 2.0\n', "crops.validation_share"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(InputError, match="configuration cannot be used") as refused:
        read_config(write(tmp_path, text))
    assert key in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(InputError, match="configuration"):
        read_config(tmp_path / "bytes.toml")
