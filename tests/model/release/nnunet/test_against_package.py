"""Ours against the package `nnunet` itself, where it is installed; it is not among what the project needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import torch
from nnunet_fixtures import FORWARD, KERNELS, PATCH, POOLS, first_layer, make_image, make_plans, make_state, write_model
from torch import nn

from model.release.nnunet.components import LargestPiece
from model.release.nnunet.model import NnUnetModel
from model.release.nnunet.network import NnUnet
from model.release.nnunet.plans import read_plans
from model.release.nnunet.window import importance, tile_starts

REASON = "the package nnunet (version 1) is not installed"
package = pytest.importorskip("nnunet.network_architecture.generic_UNet", reason=REASON, exc_type=ImportError)


def their_network(
    base: int, pools: list[list[int]] = POOLS, kernels: list[list[int]] = KERNELS, *, convolutions: int = 2
) -> Any:  # noqa: ANN401
    """Build a network with the arguments of the package's usual trainer (`nnUNetTrainerV2`)."""
    network = package.Generic_UNet(
        1,
        base,
        3,
        len(pools),
        convolutions,
        2,
        nn.Conv3d,
        nn.InstanceNorm3d,
        {"eps": 1e-5, "affine": True},
        nn.Dropout3d,
        {"p": 0, "inplace": True},
        nn.LeakyReLU,
        {"negative_slope": 1e-2, "inplace": True},
        True,
        False,
        lambda logits: logits,
        package.InitWeights_He(1e-2),
        pools,
        kernels,
        False,
        True,
        True,
    )
    network.inference_apply_nonlin = lambda logits: torch.softmax(logits, 1)
    network.do_ds = False
    return network.eval()


def their_prediction(
    network: Any,  # noqa: ANN401
    values: npt.NDArray[np.float32],
    *,
    mirrored: bool = False,
) -> npt.NDArray[np.float32]:
    """Run the package's sliding window over an image or, the first convolution taken out, over its map."""
    _, found = network.predict_3D(
        values,
        do_mirroring=mirrored,
        mirror_axes=(0, 1, 2),
        use_sliding_window=True,
        step_size=0.5,
        patch_size=np.array(PATCH),
        use_gaussian=True,
        verbose=False,
        mixed_precision=False,
    )
    return np.asarray(found)


@pytest.mark.parametrize("shape", [PATCH, (8, 24, 20), (13, 12, 33), (5, 30, 9)])
def test_probabilities_from_maps(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    network = their_network(4)
    network.load_state_dict(make_state())
    activation = first_layer(make_state(), make_image(shape))
    network.conv_blocks_context[0].blocks[0].conv = nn.Identity()
    expected = their_prediction(network, activation)
    found = NnUnetModel.load(write_model(tmp_path)).probabilities(activation)
    print("largest difference of a probability:", np.abs(found - expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_mirroring_of_an_image(tmp_path: Path) -> None:
    state = make_state(base=12)
    kernel = np.random.default_rng(3).normal(size=(12, 1, 1, 3, 3))
    state["conv_blocks_context.0.blocks.0.conv.weight"] = torch.tensor(kernel, dtype=torch.float32)
    network = their_network(12)
    network.load_state_dict(state)
    image = make_image(PATCH)
    expected = their_prediction(network, image[None], mirrored=True)
    model = NnUnetModel.load(write_model(tmp_path, plans=make_plans(base=12), state=state))
    found = model.probabilities(first_layer(state, image), mirror_axes=(0, 1, 2))
    print("largest difference of a probability:", np.abs(found - expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("convolutions", [2, 3])
def test_networks_have_as_many_parameters(tmp_path: Path, convolutions: int) -> None:
    pools, kernels = [[2, 2, 2]] * 5, [[3, 3, 3]] * 6
    content = make_plans(base=32) | {"conv_per_stage": convolutions}
    stage = content["plans_per_stage"][0]
    stage |= {"patch_size": [128] * 3, "pool_op_kernel_sizes": pools, "conv_kernel_sizes": kernels}
    ours = NnUnet(read_plans(write_model(tmp_path, plans=content) / "model_best.model.pkl"))
    theirs = their_network(32, pools, kernels, convolutions=convolutions)
    counts = [sum(tensor.numel() for tensor in network.parameters()) for network in (ours, theirs)]
    assert counts[0] == counts[1]


def test_files_written_by_the_package_are_read(tmp_path: Path) -> None:
    name = "nnunet.training.network_training.nnUNetTrainerV2"
    trainers = pytest.importorskip(name, reason=REASON, exc_type=ImportError)
    trainer = trainers.nnUNetTrainerV2("plans.pkl", 0, str(tmp_path), str(tmp_path))
    trainer.process_plans(make_plans())
    trainer.initialize_network()
    for losses in (trainer.all_tr_losses, trainer.all_val_losses, trainer.all_val_eval_metrics):
        losses.append(np.mean([0.5, 0.25]))
    trainer.best_val_eval_criterion_MA = np.float64(0.75)
    trainer.save_checkpoint(str(tmp_path / "model_best.model"), save_optimizer=False)
    state = {name: value.detach() for name, value in trainer.network.state_dict().items()}
    activation = first_layer(state, make_image((8, 24, 20)))
    trainer.network.conv_blocks_context[0].blocks[0].conv = nn.Identity()
    trainer.network.do_ds = False
    expected = their_prediction(trainer.network.eval(), activation)
    found = NnUnetModel.load(tmp_path).probabilities(activation)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_tiles_and_weights() -> None:
    for patch in [(8, 12, 16), (5, 7, 9), (32, 48, 40), (1, 2, 3)]:
        np.testing.assert_allclose(importance(patch), package.Generic_UNet._get_gaussian(patch), rtol=1e-6)
    for patch_size in range(1, 20):
        for size in range(patch_size, 70):
            steps = package.Generic_UNet._compute_steps_for_sliding_window((patch_size,), (size,), 0.5)
            assert tile_starts(size, patch_size) == steps[0]


def test_label_map_lies_as_exported(tmp_path: Path) -> None:
    export = pytest.importorskip("nnunet.inference.segmentation_export", reason=REASON, exc_type=ImportError)
    model = NnUnetModel.load(write_model(tmp_path))
    activation = first_layer(make_state(), make_image((13, 12, 33)))
    backward = np.argsort(FORWARD)
    softmax = model.probabilities(activation).transpose([0, *(backward + 1)])
    size = softmax.shape[1:]
    properties = {
        "original_size_of_raw_data": np.array(size),
        "size_after_cropping": size,
        "crop_bbox": [[0, length] for length in size],
        "original_spacing": np.array([0.2, 0.2, 0.2]),
        "itk_origin": (0.0, 0.0, 0.0),
        "itk_spacing": (0.2, 0.2, 0.2),
        "itk_direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    }
    path = tmp_path / "case.nii.gz"
    export.save_segmentation_nifti_from_softmax(softmax, str(path), properties, verbose=False)
    exported: Any = nibabel.load(path)
    np.testing.assert_array_equal(model.predict(activation), np.asarray(exported.dataobj))
    np.testing.assert_allclose(exported.affine, np.diag([-0.2, -0.2, 0.2, 1.0]), atol=1e-7)


@pytest.mark.parametrize("groups", [None, ((1,),), ((1, 2),), ((1, 2), (2,), (3,))])
@pytest.mark.parametrize("least", [False, True])
def test_pieces_that_stay(groups: tuple[tuple[int, ...], ...] | None, least: bool) -> None:
    components = pytest.importorskip("nnunet.postprocessing.connected_components", reason=REASON, exc_type=ImportError)
    labels = (np.random.default_rng(5).integers(0, 12, size=(9, 10, 11)) % 5).astype(np.uint8)
    labels[labels == 4] = 1
    named = groups or tuple((label,) for label in (1, 2, 3))
    sizes = {group: 0.03 * len(group) for group in named} if least else {}
    theirs = {group if len(group) > 1 else group[0]: size for group, size in sizes.items()}
    asked = None if groups is None else [list(group) if len(group) > 1 else group[0] for group in groups]
    expected, *_ = components.remove_all_but_the_largest_connected_component(
        labels.copy(), asked, 0.008, theirs if least else None
    )
    found = LargestPiece(groups, sizes).apply(labels, 0.008)
    np.testing.assert_array_equal(found, expected)
    assert (found != labels).any()
