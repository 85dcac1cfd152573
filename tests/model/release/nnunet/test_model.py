"""From the files of a trained model and an activation map to the labels of a crop."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from nnunet_fixtures import FORWARD, PATCH, first_layer, make_image, make_plans, make_state, write_model
from torch import Tensor

from model.errors import ReleaseError
from model.release.nnunet.model import NnUnetModel, label_masks

GRID_IJK = (30, 11, 14)
"""More than one tile along every axis but one."""


def preprocessed(image_ijk: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give an image as nnU-Net sees it: read as z, y, x, then its axes exchanged."""
    return np.ascontiguousarray(np.moveaxis(image_ijk, (0, 1, 2), (2, 1, 0)).transpose(FORWARD))


def test_labels_lie_on_the_crop(tmp_path: Path) -> None:
    model = NnUnetModel.load(write_model(tmp_path))
    image_ijk = make_image(GRID_IJK)
    activation = first_layer(make_state(), preprocessed(image_ijk))
    labels = model.predict(activation)
    assert labels.shape == GRID_IJK
    assert labels.dtype == np.uint8
    assert set(np.unique(labels).tolist()) == {0, 1, 2}
    # An element of the network's grid [a, b, c] with a, b, c = x, z, y is [a, c, b] of the crop.
    expected = model.probabilities(activation).argmax(axis=0)
    assert expected.shape == (30, 14, 11)
    np.testing.assert_array_equal(labels, expected.swapaxes(1, 2))


def test_one_tile_gives_what_the_image_gives(tmp_path: Path) -> None:
    model = NnUnetModel.load(write_model(tmp_path))
    image = make_image(PATCH)
    expected = torch.softmax(model.network(torch.from_numpy(image)[None, None]), dim=1)[0]
    found = model.probabilities(first_layer(make_state(), image))
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)


def test_tiles_see_beyond_their_inner_faces(tmp_path: Path) -> None:
    model = NnUnetModel.load(write_model(tmp_path))
    image = make_image((8, 12, 24))
    found = model.probabilities(first_layer(make_state(), image))
    # Of the tiles at 0 and 8, only the first holds the first 8 slices; what it saw first reaches one voxel further.
    wider = first_layer(make_state(), image[:, :, :17])[..., :16]
    with_what_lies_beyond = torch.softmax(model.network.from_activation(torch.from_numpy(wider)[None]), dim=1)[0]
    np.testing.assert_allclose(found[..., :8], with_what_lies_beyond.numpy()[..., :8], rtol=0, atol=1e-5)
    without = model.probabilities(first_layer(make_state(), image[:, :, :16]))
    assert np.abs(found - np.pad(without, [(0, 0)] * 3 + [(0, 8)]))[..., :8].max() > 0.01


def test_mirroring_averages_the_predictions_of_mirrored_images(tmp_path: Path) -> None:
    state = make_state(base=12)
    kernel = np.random.default_rng(3).normal(size=(12, 1, 1, 3, 3))
    state["conv_blocks_context.0.blocks.0.conv.weight"] = torch.tensor(kernel, dtype=torch.float32)
    model = NnUnetModel.load(write_model(tmp_path, plans=make_plans(base=12), state=state))
    image = torch.from_numpy(make_image(PATCH))[None, None]
    expected: Tensor = torch.zeros(1, 3, *PATCH)
    for places in ([], [2], [4], [2, 4]):
        expected = expected + torch.softmax(model.network(image.flip(places)), dim=1).flip(places) / 4
    seen: list[float] = []
    activation = first_layer(state, image[0, 0].numpy())
    found = model.probabilities(activation, mirror_axes=(0, 2), progress=seen.append)
    np.testing.assert_allclose(found, expected[0].numpy(), rtol=0, atol=1e-4)
    assert seen == [0.25, 0.5, 0.75, 1.0]
    assert np.abs(found - model.probabilities(activation)).max() > 0.01


def test_post_processing_of_the_trainer_is_applied(tmp_path: Path) -> None:
    activation = first_layer(make_state(), make_image((8, 24, 16)))
    plain = NnUnetModel.load(write_model(tmp_path / "fold_0")).predict(activation)
    kept = {"for_which_classes": [1], "min_valid_object_sizes": "None"}
    model = NnUnetModel.load(write_model(tmp_path / "fold_0", postprocessing=kept).parent)
    found = model.predict(activation)
    np.testing.assert_array_equal(found == 2, plain == 2)
    assert 0 < (found == 1).sum() < (plain == 1).sum()
    # A file of the fold is a record of its validation, and not applied.
    (tmp_path / "fold_0" / "postprocessing.json").write_text('{"for_which_classes": [1, 2]}')
    np.testing.assert_array_equal(model.predict(activation), found)
    np.testing.assert_array_equal(NnUnetModel.load(tmp_path).predict(activation), found)


def test_least_volumes_are_in_mm3(tmp_path: Path) -> None:
    activation = first_layer(make_state(), make_image((8, 24, 16)))
    sizes = f"{{1: {2.5 * 0.2**3}}}"
    rule = {"for_which_classes": [1], "min_valid_object_sizes": sizes}
    plain = NnUnetModel.load(write_model(tmp_path / "fold_0")).predict(activation)
    found = NnUnetModel.load(write_model(tmp_path / "fold_0", postprocessing=rule)).predict(activation)
    gone = (plain == 1) & (found == 0)
    assert 0 < gone.sum() < (plain == 1).sum() / 2


def test_weights_of_parallel_training_and_of_old_files_are_read(tmp_path: Path) -> None:
    fold = write_model(tmp_path, state={f"module.{name}": tensor for name, tensor in make_state().items()})
    activation = first_layer(make_state(), make_image(PATCH))
    expected = NnUnetModel.load(write_model(tmp_path / "plain")).probabilities(activation)
    np.testing.assert_array_equal(NnUnetModel.load(fold).probabilities(activation), expected)
    path = fold / "model_best.model"
    content = {"state_dict": make_state(), "best_stuff": (None, np.float64(0.5))}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(NnUnetModel.load(fold).probabilities(activation), expected)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        """Keep the file that the command makes."""
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the command."""
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("modern", [True, False])
def test_code_in_the_weights_is_not_run(tmp_path: Path, modern: bool) -> None:
    mark = tmp_path / "mark"
    fold = write_model(tmp_path)
    content = {"state_dict": make_state(), "plot_stuff": Hostile(mark)}
    torch.save(content, fold / "model_best.model", _use_new_zipfile_serialization=modern)
    with pytest.raises(ReleaseError, match="weights cannot be read"):
        NnUnetModel.load(fold)
    assert not mark.exists()
    # The same file does run its command elsewhere, so the test would notice.
    torch.load(fold / "model_best.model", weights_only=False)
    assert mark.exists()


def test_objects_of_numpy_in_the_weights_are_not_made(tmp_path: Path) -> None:
    # Numpy would unpickle the bytes of such a scalar.
    fold = write_model(tmp_path)
    scalar = np.array([pickle.dumps(1)], dtype=object)
    torch.save({"state_dict": make_state(), "plot_stuff": scalar}, fold / "model_best.model")
    NnUnetModel.load(fold)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = make_state()
    last = "seg_outputs.1.weight"
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({name: tensor for name, tensor in state.items() if name != last}, r"incomplete.*heads\.1\.weight"),
        (state | {last: torch.zeros(4, 4, 1, 1, 1)}, r"heads\.1\.weight does not fit"),
        (state | {"conv_blocks_context.3.blocks.0.conv.bias": torch.zeros(4)}, "another network"),
        (state | {last: state[last] * torch.nan}, "NaN"),
    ]
    for weights, message in cases:
        with pytest.raises(ReleaseError, match=message):
            NnUnetModel.load(write_model(tmp_path, state=weights))
    (write_model(tmp_path) / "model_best.model.pkl").unlink()
    with pytest.raises(ReleaseError, match=r"model_best\.model\.pkl"):
        NnUnetModel.load(tmp_path)


@pytest.mark.parametrize("shape", [(5, 8, 12, 16), (8, 12, 16), (8, 12, 16, 4), (4, 0, 12, 16)])
def test_maps_of_other_networks_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = NnUnetModel.load(write_model(tmp_path))
    with pytest.raises(ReleaseError, match="4 channels first"):
        model.predict(np.zeros(shape, dtype=np.float32))


def test_masks_of_the_labels() -> None:
    labels = np.array([[[0, 1, 2, 1]]], dtype=np.uint8)
    masks = label_masks(labels, ("scala_tympani", "scala_vestibuli"))
    assert list(masks) == ["scala_tympani", "scala_vestibuli"]
    assert masks["scala_tympani"].ravel().tolist() == [False, True, False, True]
    assert masks["scala_vestibuli"].ravel().tolist() == [False, False, True, False]
