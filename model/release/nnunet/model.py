"""A trained nnU-Net (version 1): loaded, and run from activation maps to masks of the crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.errors import ReleaseError
from model.release.names import rename
from model.release.nnunet.components import LargestPiece, read_postprocessing
from model.release.nnunet.files import PLANS_FILE, POSTPROCESSING_FILE, WEIGHTS_FILE, find_fold
from model.release.nnunet.mirroring import map_under_mirrored_kernel, mirror_sets
from model.release.nnunet.network import NnUnet, layer_names
from model.release.nnunet.plans import Plans, read_plans
from model.release.nnunet.window import Progress, part_of, predict_tiles
from model.release.tensors import check_tensors
from model.release.torch_file import read_tensors


@dataclass(frozen=True)
class NnUnetModel:
    """A network with its plans.

    Attributes:
        plans: what the network is built from.
        network: the network with its weights, on its device, for inference.
        postprocessing: which pieces go, or None.
    """

    plans: Plans
    network: NnUnet
    postprocessing: LargestPiece | None

    @classmethod
    def load(cls, folder: Path, *, device: torch.device | str = "cpu") -> NnUnetModel:
        """Load `model_best.model` and `model_best.model.pkl`; nothing in them is run.

        The post-processing is that of the trainer's folder, as nnU-Net applies it; the file of the same name in the
        folder of a fold is a record of its validation. Without one, nothing is post-processed.

        Args:
            folder: of a fold, or of its trainer (`nnUNetTrainerV2__...`), of which the first fold is taken.
            device: where to run.

        Raises:
            ReleaseError: a file is missing, damaged, names other code or is of another network.
        """
        fold = find_fold(folder)
        plans = read_plans(fold / PLANS_FILE)
        with torch.device("meta"):
            network = NnUnet(plans)
        state = read_tensors(fold / WEIGHTS_FILE, "state_dict", old_format=True)
        weights = rename({name.removeprefix("module."): value for name, value in state.items()}, layer_names(plans))
        check_tensors(weights, network.state_dict())
        network.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
        file = fold.parent / POSTPROCESSING_FILE
        postprocessing = read_postprocessing(file) if file.is_file() else None
        return cls(plans, network.eval().requires_grad_(False).to(device), postprocessing)

    def probabilities(
        self,
        activation: npt.NDArray[np.float32],
        *,
        mirror_axes: tuple[int, ...] = (),
        progress: Progress = lambda _: None,
    ) -> npt.NDArray[np.float32]:
        """Give the probabilities of the labels.

        Args:
            activation: (C, I, J, K) output of the first convolution of the whole preprocessed image, bias included,
                axes as preprocessed. See `window` on how tiles of it differ from those of an image.
            mirror_axes: axes of the map along which to mirror as well, and average. None is what the published program
                does; nnU-Net's own prediction from images uses all three. See `mirroring` for how it is done.
            progress: called with the fraction done.

        Returns:
            (classes, I, J, K), background first, axes as preprocessed.

        Raises:
            ReleaseError: the map does not fit the network, or does not allow mirroring.
        """
        given = self._check_activation(activation)
        weight, bias = self.network.first.conv.parameters()
        sets = mirror_sets(mirror_axes)
        total = given.new_zeros(())
        with torch.inference_mode():
            for number, axes in enumerate(sets):
                volume = map_under_mirrored_kernel(given, weight, bias, axes)
                predict = partial(self._mirrored, axes=axes)
                total = total + predict_tiles(predict, volume, self.plans.patch, part_of(progress, number, len(sets)))
        return np.asarray((total / len(sets)).cpu().numpy(), dtype=np.float32)

    def _check_activation(self, activation: npt.NDArray[np.float32]) -> Tensor:
        """Give the map on the device of the network, when its channels are those of the first convolution."""
        channels = self.plans.base_width
        if activation.ndim != 4 or len(activation) != channels or 0 in activation.shape:
            expected, found = f"{channels} channels first, 3 dimensions", str(activation.shape)
            raise ReleaseError("the activation map does not fit the network", expected=expected, found=found)
        values = torch.from_numpy(np.ascontiguousarray(activation, dtype=np.float32))
        return values.to(self.network.first.conv.weight.device)

    def _mirrored(self, tile: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Give the probabilities of a tile by way of its mirror image."""
        places = [axis + 2 for axis in axes]
        return torch.softmax(self.network.from_activation(tile.flip(places)), dim=1).flip(places)

    def predict(
        self,
        activation: npt.NDArray[np.float32],
        *,
        mirror_axes: tuple[int, ...] = (),
        progress: Progress = lambda _: None,
    ) -> npt.NDArray[np.uint8]:
        """Give the label map of the crop.

        The map is taken to be on the grid of the crop: nothing is resampled.

        Args:
            activation: see `probabilities`.
            mirror_axes: see `probabilities`.
            progress: see `probabilities`.

        Returns:
            Labels on the voxels [i, j, k] of the crop, post-processed. Images come to nnU-Net as z, y, x.

        Raises:
            ReleaseError: see `probabilities`.
        """
        found = self.probabilities(activation, mirror_axes=mirror_axes, progress=progress)
        labels = found.argmax(axis=0).astype(np.uint8).transpose(self.plans.transpose_backward).transpose()
        if self.postprocessing is not None:
            labels = self.postprocessing.apply(labels, math.prod(self.plans.spacing_mm))
        return np.ascontiguousarray(labels)


def label_masks(labels_ijk: npt.NDArray[np.uint8], structures: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Split a label map into the masks of its structures.

    Args:
        labels_ijk: label map.
        structures: of the labels 1, 2, ...; see `files.TASKS`.
    """
    return {structure: labels_ijk == label for label, structure in enumerate(structures, start=1)}
