"""Several losses, weighted and added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from model.errors import InputError
from model.losses.batch import Prediction, Target
from model.losses.fields import bending, folding, roughness, smoothness
from model.losses.images import lncc, mse, ncc
from model.losses.overlap import dice_loss
from model.losses.point_terms import chamfer_term, point_to_plane_term, point_to_point_term
from model.losses.weights import DATA_TERMS, FIELD_TERMS, LossWeights

__all__ = ["DATA_TERMS", "FIELD_TERMS", "LossWeights", "Prediction", "Target", "WeightedLoss"]

_FIELD_MEASURES = {"smoothness": smoothness, "roughness": roughness, "bending": bending, "folding": folding}


class WeightedLoss:
    """The weighted sum of the terms whose weight is above zero; the others are not computed."""

    def __init__(self, weights: LossWeights, *, spacing_mm: float = 1.0) -> None:
        """Keep the weights.

        Args:
            weights: weights and settings of the terms.
            spacing_mm: size of a crop voxel; distances are then in mm (chamfer: mm^2). 1 leaves them in voxels, as
                published.
        """
        self.weights = weights
        self.spacing_mm = spacing_mm

    def __call__(
        self, prediction: Prediction, target: Target, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss and its terms, not weighted.

        Args:
            prediction: what the network made.
            target: what it should have made.
            generator: of the points drawn for the chamfer distance, on the CPU; none: torch's own.

        Returns:
            The weighted sum, and every term that is in it by its name in `LossWeights`.

        Raises:
            InputError: a term lacks what it needs.
            ValueError: when shapes do not fit.
        """
        data, parts = self.data(prediction, target, generator)
        regular, more = self.regularity(prediction)
        return data + regular, parts | more

    def data(
        self, prediction: Prediction, target: Target, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the part of the loss that compares with the truth; see `__call__`."""
        weights, mm = self.weights, self.spacing_mm
        point_unit = mm**2 if weights.point_to_point_squared else mm
        terms: dict[str, Callable[[], Tensor]] = {
            "chamfer": lambda: mm**2 * chamfer_term(prediction, target, weights, generator),
            "point_to_point": lambda: point_unit * point_to_point_term(prediction, target, weights),
            "point_to_plane": lambda: mm * point_to_plane_term(prediction, target, weights),
            "dice": lambda: dice_loss(*_masks(prediction, target)),
            "mse": lambda: mse(*_images("mse", prediction, target)),
            "ncc": lambda: 1 - ncc(*_images("ncc", prediction, target)),
            "lncc": lambda: 1 - lncc(*_images("lncc", prediction, target), window=weights.lncc_window),
        }
        return self._sum(prediction, terms)

    def regularity(self, prediction: Prediction) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the part of the loss that keeps the fields regular, summed over the fields; see `__call__`."""
        terms = {name: partial(_of_fields, name, prediction) for name in _FIELD_MEASURES}
        return self._sum(prediction, terms)

    def _sum(
        self, prediction: Prediction, terms: Mapping[str, Callable[[], Tensor]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute and add up the terms whose weight is above zero."""
        parts = {name: term() for name, term in terms.items() if getattr(self.weights, name) > 0}
        total = torch.zeros((), dtype=torch.float32, device=prediction.points.device)
        for name, value in parts.items():
            total = total + getattr(self.weights, name) * value
        return total, parts


def _of_fields(name: str, prediction: Prediction) -> Tensor:
    """Give the sum over the fields of one measure of their regularity."""
    if not prediction.fields:
        raise InputError(f"the loss term {name} needs displacement fields", found="none")
    measure = _FIELD_MEASURES[name]
    return torch.stack([measure(field, prediction.field_spacing) for field in prediction.fields]).sum()


def _masks(prediction: Prediction, target: Target) -> tuple[Tensor, Tensor]:
    """Give the masks that Dice compares."""
    if prediction.warped_masks is None or target.masks is None:
        missing = "the patient's" if prediction.warped_masks is None else "the atlas"
        raise InputError("the loss term dice needs masks of patient and atlas", found=f"no masks of {missing} side")
    return prediction.warped_masks, target.masks


def _images(term: str, prediction: Prediction, target: Target) -> tuple[Tensor, Tensor]:
    """Give the images that a term compares."""
    if prediction.warped_image is None or target.atlas_image is None:
        missing = "warped patient" if prediction.warped_image is None else "atlas"
        raise InputError(f"the loss term {term} needs the images of patient and atlas", found=f"no {missing} image")
    return prediction.warped_image, target.atlas_image
