"""The training step of the registration network: point-to-point loss on atlas vertices."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from model.networks.coarse_to_fine import CoarseToFineNet


def point_to_point(predicted: Tensor, true: Tensor, groups: int) -> Tensor:
    """Give the mean distance of corresponding points of each group.

    Args:
        predicted: (B, G * P, 3) points, P of each of G groups in turn.
        true: the points they should be, same unit.
        groups: G.

    Returns:
        (G,) mean distances, in the unit of the points.
    """
    distance = (predicted - true).square().sum(-1).add(1e-6).sqrt()
    means: Tensor = distance.unflatten(1, (groups, -1)).mean(dim=(0, 2))
    return means


def roughness(field: Tensor) -> Tensor:
    """Give the mean squared second difference of (B, 3, I, J, K) fields over the three axes."""
    terms = [field.diff(n=2, dim=axis).square().mean() for axis in (2, 3, 4)]
    return torch.stack(terms).mean()


class RegistrationTraining(lightning.LightningModule):
    """Trains a `CoarseToFineNet` on changed cases.

    The loss is the mean over structures of the point-to-point distance after every pass, in mm, plus the roughness of
    the fields.
    """

    def __init__(
        self,
        network: CoarseToFineNet,
        atlas_image: Tensor,
        atlas_vertices_ijk: Tensor,
        *,
        structures: tuple[str, ...],
        spacing_mm: float,
        steps: int,
        single_pass_steps: int,
        learning_rate: float,
        stiffness: float,
    ) -> None:
        """Keep the network, the (grid^3) atlas image in [-1, 1] and the (N, 3) atlas vertices in crop voxels.

        The first `single_pass_steps` of all `steps` run the network once; one pass costs half of two and learns most.
        """
        super().__init__()
        self.network = network
        self.register_buffer("atlas_view", network.look(atlas_image[None, None]))
        self.register_buffer("atlas_vertices", atlas_vertices_ijk)
        self.structures, self.spacing_mm = structures, spacing_mm
        self.steps, self.learning_rate, self.stiffness = steps, learning_rate, stiffness
        self.single_pass_steps, self.passes = single_pass_steps, network.passes
        self.atlas_view: Tensor
        self.atlas_vertices: Tensor

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Give the loss of one batch of views."""
        self.network.passes = 1 if self.global_step < self.single_pass_steps else self.passes
        view, true = batch["view"], batch["vertices"]
        points = self.atlas_vertices[batch["indices"]]
        fields = self.network.fields(view, self.atlas_view.expand(len(view), -1, -1, -1, -1))
        loss = torch.stack([roughness(field) for field in fields]).sum() * self.stiffness
        for done in range(1, len(fields) + 1):
            errors = self.spacing_mm * point_to_point(
                self.network.move(points, fields[:done]), true, len(self.structures)
            )
            loss = loss + errors.mean() * (1.0 if done == len(fields) else 0.5)
        before = self.spacing_mm * point_to_point(points, true, len(self.structures))
        values: dict[str, Any] = dict(zip(self.structures, errors, strict=True))
        self.log_dict({"loss": loss, "before": before.mean(), "after": errors.mean(), **values})
        return loss

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's own union of optimiser descriptions)
        """Give AdamW under a one-cycle schedule over all steps."""
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=self.learning_rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.learning_rate, total_steps=self.steps + 1, pct_start=0.1
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
