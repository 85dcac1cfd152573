"""Small trained models of nnU-Net (version 1), made on the fly in the files that it writes."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from published_case import formula_values
from torch import Tensor

PATCH = (8, 12, 16)
POOLS = [[1, 2, 2], [2, 2, 4]]
KERNELS = [[1, 3, 3], [3, 3, 3], [3, 1, 3]]
FORWARD = (2, 0, 1)
"""No exchange of two axes, so that it differs from its inverse."""


def make_plans(*, base: int = 4, labels: int = 2, patch: tuple[int, ...] = PATCH) -> dict[str, Any]:
    """Give plans whose levels, axes and kernels all differ, with numpy's values where nnU-Net has them."""
    stage = {
        "batch_size": 2,
        "num_pool_per_axis": [1, 2, 3],
        "patch_size": np.array(patch),
        "median_patient_size_in_voxels": np.array([128, 128, 128]),
        "current_spacing": np.array([0.2, 0.2, 0.2]),
        "original_spacing": np.array([0.2, 0.2, 0.2]),
        "do_dummy_2D_data_aug": np.bool_(False),
        "pool_op_kernel_sizes": POOLS,
        "conv_kernel_sizes": KERNELS,
    }
    intensities = OrderedDict(mean=np.float32(0.1), percentile_99_5=np.float64(0.9))
    return {
        "num_stages": 1,
        "num_modalities": 1,
        "modalities": {0: "CT"},
        "normalization_schemes": OrderedDict([(0, "CT")]),
        "dataset_properties": {"all_sizes": [(128, 128, 128)], "intensityproperties": {0: intensities}},
        "num_classes": np.int64(labels),
        "all_classes": list(range(1, labels + 1)),
        "base_num_features": base,
        "use_mask_for_norm": OrderedDict([(0, False)]),
        "keep_only_largest_region": None,
        "min_region_size_per_class": None,
        "transpose_forward": list(FORWARD),
        "transpose_backward": [np.int64(place) for place in np.argsort(FORWARD)],
        "plans_per_stage": {0: stage},
        "conv_per_stage": 2,
    }


def pickled_content(plans: dict[str, Any], name: str = "nnUNetTrainerV2") -> OrderedDict[str, Any]:
    """Give what `model_best.model.pkl` holds."""
    arguments = ("plans.pkl", 0, "output", "data", True, 0, True, False, True)
    return OrderedDict(init=arguments, name=name, **{"class": f"<class 'x.{name}'>"}, plans=plans)


def make_state(base: int = 4, classes: int = 3) -> dict[str, Tensor]:
    """Give weights of the plans above under nnU-Net's names, all shapes written out."""
    two, four = 2 * base, 4 * base
    shapes: dict[str, tuple[int, ...]] = {}

    def block(place: str, before: int, width: int, kernel: tuple[int, int, int]) -> None:
        shapes[f"{place}.conv.weight"] = (width, before, *kernel)
        shapes[f"{place}.conv.bias"] = shapes[f"{place}.instnorm.weight"] = (width,)
        shapes[f"{place}.instnorm.bias"] = (width,)

    block("conv_blocks_localization.0.0.blocks.0", four, two, (3, 1, 3))
    block("conv_blocks_localization.0.1.blocks.0", two, two, (3, 1, 3))
    block("conv_blocks_localization.1.0.blocks.0", two, base, (3, 3, 3))
    block("conv_blocks_localization.1.1.blocks.0", base, base, (3, 3, 3))
    block("conv_blocks_context.0.blocks.0", 1, base, (1, 3, 3))
    block("conv_blocks_context.0.blocks.1", base, base, (1, 3, 3))
    block("conv_blocks_context.1.blocks.0", base, two, (3, 3, 3))
    block("conv_blocks_context.1.blocks.1", two, two, (3, 3, 3))
    block("conv_blocks_context.2.0.blocks.0", two, four, (3, 1, 3))
    block("conv_blocks_context.2.1.blocks.0", four, four, (3, 1, 3))
    shapes["tu.0.weight"] = (four, two, 2, 2, 4)
    shapes["tu.1.weight"] = (two, base, 1, 2, 2)
    shapes["seg_outputs.0.weight"] = (classes, two, 1, 1, 1)
    shapes["seg_outputs.1.weight"] = (classes, base, 1, 1, 1)
    state = {}
    for name, shape in shapes.items():
        scale = 3.0 if name.startswith("seg") else 2.0 / float(np.prod(shape[1:])) ** 0.5
        offset = 1.0 if name.endswith("instnorm.weight") else 0.0
        state[name] = formula_values(name, shape, 0.3 if len(shape) == 1 else scale, offset)
    return state


def write_model(
    fold: Path,
    *,
    plans: dict[str, Any] | None = None,
    state: dict[str, Tensor] | None = None,
    postprocessing: dict[str, Any] | None = None,
) -> Path:
    """Write a trained model, the training's records included, and give the folder of its fold."""
    fold.mkdir(parents=True, exist_ok=True)
    with (fold / "model_best.model.pkl").open("wb") as file:
        pickle.dump(pickled_content(make_plans() if plans is None else plans), file)
    losses = [np.float64(0.5), np.float64(0.25)]
    content = {
        "epoch": 2,
        "state_dict": OrderedDict(make_state() if state is None else state),
        "optimizer_state_dict": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.01}]},
        "lr_scheduler_state_dict": None,
        "plot_stuff": (losses, losses, [], losses),
        "best_stuff": (None, None, np.float64(0.9)),
        "amp_grad_scaler": {"scale": 65536.0, "_growth_tracker": 7},
    }
    torch.save(content, fold / "model_best.model")
    if postprocessing is not None:
        (fold.parent / "postprocessing.json").write_text(json.dumps(postprocessing))
    return fold


def make_image(shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Give an irregular preprocessed image, no two axes alike."""
    a, b, c = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    smooth = np.sin(0.9 * a + 0.31 * b - 0.17 * c) + 0.5 * np.cos(0.11 * a * b - 0.3 * c)
    return np.asarray(smooth + 0.3 * formula_values("image", shape, 1.0).numpy(), dtype=np.float32)


def first_layer(state: dict[str, Tensor], image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give the activation map of an image [i, j, k]: the output of the first convolution, channel first."""
    weight = state["conv_blocks_context.0.blocks.0.conv.weight"]
    bias = state["conv_blocks_context.0.blocks.0.conv.bias"]
    padding = [size // 2 for size in weight.shape[2:]]
    activation: Tensor = torch.nn.functional.conv3d(torch.from_numpy(image)[None, None], weight, bias, padding=padding)
    return np.asarray(activation[0].numpy())
