"""From the published segmentation network to a bundle that gives the published masks."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from published_case import formula_state, formula_values
from support import shared_path

from model.bundle import load_bundle
from model.errors import ReleaseError
from model.networks.registry import load_network
from model.networks.segnet import PublishedSegNet
from model.outputs.patient_masks import patient_masks
from model.release.atlas_files import read_release_image
from model.release.importer import import_release
from model.release.names import SEGNET_LAYERS
from model.request import check_request
from model.segmentation import Segmenter
from model.structures import STRUCTURE_IDS

GRID = (8, 12, 16)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A made-up release of a narrow network, whose grid only an activation map tells."""
    experiment, atlas = tmp_path / "Exp" / "checkpoints", tmp_path / "atlas"
    experiment.mkdir(parents=True)
    atlas.mkdir()
    theirs = {ours: name for name, ours in SEGNET_LAYERS.items()}
    state = {}
    for name, tensor in formula_state(PublishedSegNet(base_width=4)).items():
        layer, _, kind = name.rpartition(".")
        state[f"{theirs[layer]}.{kind}"] = tensor
    torch.save({"model": state}, experiment / "best.pth")
    activation = nibabel.Nifti1Image(np.zeros((4, *GRID), np.float32), np.eye(4))
    activation.to_filename(atlas / "atlas_activation_map_chamfer.nii.gz")
    return tmp_path


def imported(release: Path) -> Path:
    """Import the made-up release."""
    return import_release(release / "Exp", release / "atlas", method="segnet", name="masks", to=release / "to")


def test_bundle_states_what_the_release_holds(release: Path) -> None:
    bundle = load_bundle(imported(release))
    settings = {"base_width": 4, "structures": 4, "factor": 1, "margin": 0}
    assert bundle.manifest.network.parameters == settings
    assert bundle.manifest.segmentation is not None
    assert bundle.manifest.segmentation.pieces == "all"
    assert (bundle.frame.grid, bundle.structure_ids, bundle.intensity.rule) == (GRID, STRUCTURE_IDS, "as_stored")
    network = PublishedSegNet(base_width=4)
    network.load_state_dict(formula_state(network))
    image = formula_values("patient", (1, 1, *GRID), 0.9)
    with torch.no_grad():
        torch.testing.assert_close(load_network(bundle)(image), network(image))


def test_weights_that_do_not_fit_are_refused(release: Path) -> None:
    path = release / "Exp" / "checkpoints" / "best.pth"
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
    assert not (release / "to").exists()


def test_a_release_that_does_not_tell_its_grid_is_refused(release: Path) -> None:
    (release / "atlas" / "atlas_activation_map_chamfer.nii.gz").unlink()
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
