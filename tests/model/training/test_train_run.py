"""A whole run: from a labelled ear to a bundle that loads, stopped and started again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from ear_fixtures import read_truth

from model.atlas.build import Atlas
from model.atlas.labelled_ears import LabelledEar, read_labelled_ear
from model.bundle import Bundle, load_bundle, verify_bundle
from model.errors import InputError
from model.geometry.landmarks import Side
from model.meshes.mesh import SurfaceMesh
from model.networks.coarse_to_fine import CoarseToFineNet
from model.networks.registry import load_network
from model.training.config import TrainingConfig
from model.training.prepare import IMPLANTED, REAL, SYNTHETIC
from model.training.train import train


@pytest.fixture(scope="module")
def ear(shipped_bundle: Bundle, synthetic_ears: dict[Side, Path]) -> LabelledEar:
    return read_labelled_ear(synthetic_ears["left"], shipped_bundle.frame, fill_hu=-1024.0)


@pytest.fixture(scope="module")
def atlas(shipped_bundle: Bundle, synthetic_ears: dict[Side, Path], ear: LabelledEar) -> Atlas:
    """The shipped atlas, as if it had been fitted to the one ear."""
    truth = read_truth(synthetic_ears["left"])
    placed = [mesh.transformed(ear.alignment.ras_to_canonical, "ijk").vertices for mesh in truth.values()]
    meshes = {
        name: SurfaceMesh(mesh.vertices, mesh.triangles, "ijk", dict(mesh.point_data))
        for name, mesh in shipped_bundle.atlas_meshes_ijk.items()
    }
    image = (shipped_bundle.atlas_image() + 1) * 1800 - 1000
    modes = np.zeros((1, 3, 24, 24, 24), dtype=np.float32)
    return Atlas(meshes, image, modes, {ear.name: np.concatenate(placed).astype(np.float32)})


def config(steps: int) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "name": "tiny",
            "data": {"synthetic": 1, "implants_per_ear": 1, "points": 20},
            "network": {"samples": 16, "widths": [8, 8], "finest": 1, "passes": 2},
            "passes": {"single": 0.5},
            "optimiser": {"steps": steps, "batch": 1},
            "trainer": {"workers": 0, "checkpoint_every": 1},
            "refinement": {"steps": 3, "levels": [4]},
        }
    )


class StoppedError(Exception):
    """The machine went off."""


def test_a_run_goes_on_where_it_stopped_and_ends_in_a_bundle(
    ear: LabelledEar, atlas: Atlas, shipped_bundle: Bundle, tmp_path: Path
) -> None:
    told: list[float] = []
    experiment, out, frame = tmp_path / "experiment", tmp_path / "bundles", shipped_bundle.frame

    def run(stop_at: float) -> Path:
        def tell(text: str, done: float) -> None:
            if text.startswith("training"):
                assert "nan" not in text
                told.append(done)
                if done >= stop_at:
                    raise StoppedError

        return train([ear], atlas, frame, config(4), experiment, out, tell)

    with pytest.raises(StoppedError):
        run(stop_at=0.75)
    assert told == [0.25, 0.5, 0.75]
    assert not out.exists()
    cases = sorted((experiment / "cases").iterdir())
    assert [path.name for path in cases] == sorted([REAL, IMPLANTED, SYNTHETIC])
    made = [path.stat().st_mtime_ns for path in cases]

    told.clear()
    folder = run(stop_at=math.inf)
    assert folder == out / "tiny"
    assert told == [0.75, 1.0]  # the third step had not been saved
    assert [path.stat().st_mtime_ns for path in cases] == made
    saved = torch.load(experiment / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    assert saved["global_step"] == 4
    check_bundle(folder, atlas, shipped_bundle, saved["state_dict"])

    told.clear()
    assert run(stop_at=0.0) == folder  # finished already
    assert told == []
    check_bundle(folder, atlas, shipped_bundle, saved["state_dict"])


def test_dice_of_surfaces_needs_whole_surfaces(
    ear: LabelledEar, atlas: Atlas, shipped_bundle: Bundle, tmp_path: Path
) -> None:
    run = config(1).model_dump(mode="json") | {"loss": {"dice": 1.0, "dice_by": "surface"}}
    run["network"] = {"samples": 16, "widths": [8, 8], "finest": 1, "passes": 2}
    with pytest.raises(InputError, match="whole surfaces"):
        train(
            [ear],
            atlas,
            shipped_bundle.frame,
            TrainingConfig.model_validate(run),
            tmp_path / "experiment",
            tmp_path / "bundles",
            lambda text, done: None,
        )
    assert not (tmp_path / "experiment").exists()


def check_bundle(folder: Path, atlas: Atlas, shipped_bundle: Bundle, trained: Mapping[str, torch.Tensor]) -> None:
    """Check that a bundle holds the trained network and the atlas."""
    manifest = verify_bundle(folder)
    assert (manifest.name, manifest.network.class_name) == ("tiny", "coarse_to_fine")
    assert manifest.network.parameters["widths"] == [8, 8]
    assert manifest.refinement is not None
    assert (manifest.refinement["steps"], manifest.refinement["levels"]) == (3, [4])
    assert [(s.id, s.vertices) for s in manifest.structures] == list(atlas.counts().items())
    bundle = load_bundle(folder)
    network = load_network(bundle)
    assert isinstance(network, CoarseToFineNet)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(trained[f"network.{name}"], value)
        if "heads" in name:
            assert float(value.abs().max()) > 0  # a fresh network has zeros here
    np.testing.assert_allclose(bundle.atlas_image(), shipped_bundle.atlas_image(), atol=2e-3)
