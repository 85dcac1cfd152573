"""From the published segmentation network to a bundle that gives the published masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from release_fixtures import GRID, TinyRelease, write_release
from support import shared_path

from model.bundle import load_bundle
from model.errors import ReleaseError
from model.networks.registry import load_network
from model.outputs.patient_masks import patient_masks
from model.release.image_files import read_release_image
from model.release.importer import import_release
from model.request import check_request
from model.segmentation import Segmenter
from model.structures import STRUCTURE_IDS


@pytest.fixture
def release(tmp_path: Path) -> TinyRelease:
    """A release whose grid only the activation map of another method tells."""
    return write_release(tmp_path)


def imported(release: TinyRelease) -> Path:
    """Import the segmentation network."""
    to = release.folder / "to"
    return import_release(release.checkpoint("segnet"), release.atlas, method="segnet", name="masks", to=to)


def test_bundle_states_what_the_release_holds(release: TinyRelease) -> None:
    bundle = load_bundle(imported(release))
    settings = {"base_width": 4, "structures": 4, "factor": 1, "margin": 0}
    assert bundle.manifest.network.parameters == settings
    assert bundle.manifest.segmentation is not None
    assert bundle.manifest.segmentation.pieces == "all"
    assert (bundle.frame.grid, bundle.structure_ids, bundle.intensity.rule) == (GRID, STRUCTURE_IDS, "min_max")
    assert set(bundle.frame.landmarks_ijk) == {"RW", "C", "A", "OW", "V"}
    with torch.no_grad():
        logits = load_network(bundle)(torch.from_numpy(release.patient)[None, None])[0]
    np.testing.assert_allclose(logits, release.logits, atol=1e-6)


def test_weights_that_do_not_fit_are_refused(release: TinyRelease) -> None:
    path = release.checkpoint("segnet")
    state = torch.load(path, weights_only=True)["model"]
    for change, message in (
        ({"conv23.bias": torch.zeros(3)}, "decoder_lower.first.bias"),
        ({"dp1_conv1.weight": torch.zeros(3)}, "another network"),
        ({"out.bias": torch.full((4,), torch.inf)}, "NaN"),
        ({"conv11.weight": torch.zeros(3, 1, 3, 3, 3)}, "even base_width"),
    ):
        torch.save({"model": {**state, **change}}, path)
        with pytest.raises(ReleaseError, match=message):
            imported(release)
    torch.save({"model": {name: tensor for name, tensor in state.items() if name != "tconv1.bias"}}, path)
    with pytest.raises(ReleaseError, match="incomplete"):
        imported(release)
    assert not (release.folder / "to").exists()


def test_a_release_that_does_not_tell_its_grid_is_refused(release: TinyRelease) -> None:
    (release.atlas / "atlas_activation_map_chamfer.nii.gz").unlink()
    with pytest.raises(ReleaseError, match="grid"):
        imported(release)


def test_imported_bundle_gives_the_published_masks(tmp_path: Path) -> None:
    folder = shared_path("release")
    experiment = folder / "checkpoints" / "Exp_shared_skip_unet_cochlear_post_1"
    path = import_release(experiment, folder / "data" / "atlas", method="segnet", name="segnet", to=tmp_path)
    bundle = load_bundle(path)
    patient = torch.from_numpy(read_release_image(folder / "ear.nii.gz"))[None, None]
    with np.load(folder / "expected.npz") as expected:
        logits = expected["segnet_logits"]
    with torch.no_grad():
        np.testing.assert_allclose(load_network(bundle)(patient)[0].numpy(), logits, atol=1e-4)
    request = check_request(folder / "ear.nii.gz", landmarks=None, side=None, frame=bundle.frame)
    result = Segmenter(bundle, "cpu").run(request)
    to_canonical = request.alignment.ras_to_canonical @ request.volume.affine
    np.testing.assert_allclose(to_canonical, np.eye(4), atol=1e-4)
    for channel, (name, mask) in enumerate(patient_masks(result).items()):
        # Logits within the arithmetic's error of zero may fall on either side.
        decided = np.abs(logits[channel]) > 1e-4
        np.testing.assert_array_equal(mask[decided], logits[channel][decided] > 0)
        assert (name in result.meshes_ras) == mask.any()
