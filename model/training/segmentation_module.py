"""The training step of a segmentation network: soft Dice and cross-entropy of every structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from model.losses.overlap import dice_loss
from model.networks.segnet import PublishedSegNet
from model.training.runtime.overlay import Overlay


def hard_dice(logits: Tensor, masks: Tensor) -> Tensor:
    """Give the Dice coefficient of each structure over a batch, voxels being in above one half.

    Args:
        logits: (B, C, I, J, K) of the network.
        masks: (B, C, I, J, K) in [0, 1], the share of each voxel that is inside.

    Returns:
        (C,) coefficients; 1 where both are empty.
    """
    found, true = logits > 0, masks >= 0.5
    common, total = ((found & true).sum((0, 2, 3, 4)), found.sum((0, 2, 3, 4)) + true.sum((0, 2, 3, 4)))
    return torch.where(total > 0, 2 * common / total.clamp(min=1), torch.ones_like(common, dtype=torch.float32))


class SegmentationTraining(lightning.LightningModule):
    """Trains a `PublishedSegNet`.

    Batches hold `image` (B, 1, I, J, K) in [-1, 1] and `masks` (B, C, I, J, K), the share of each voxel that lies in
    each structure; masks of zeros and ones are as good. The loss is one minus the soft Dice coefficient, averaged over
    structures, plus the binary cross-entropy with logits, averaged over voxels, each with its weight.

    Source: Dice loss of Milletari et al., 3DV 2016 (doi 10.1109/3DV.2016.79); both together as the published SegNet.
    """

    def __init__(
        self,
        network: PublishedSegNet,
        *,
        structures: Sequence[str],
        learning_rate: float = 1e-3,
        dice_weight: float = 1.0,
        cross_entropy_weight: float = 1.0,
        on_own_grid: bool = False,
        make_optimisers: Callable[[list[nn.Parameter]], Any] | None = None,
    ) -> None:
        """Keep the network.

        Args:
            network: what is trained.
            structures: ids of its channels, for the log.
            learning_rate: of Adam, when `make_optimisers` is not given.
            dice_weight: weight of the Dice loss.
            cross_entropy_weight: weight of the cross-entropy.
            on_own_grid: whether batches lie on the network's own grid, not on that of the crop.
            make_optimisers: gives what Lightning's `configure_optimizers` does for the network's parameters.

        Raises:
            ValueError: the structures are not as many as the network's channels, or no weight is above 0.
        """
        super().__init__()
        if len(structures) != network.structures:
            raise ValueError(f"expected {network.structures} structures, found {len(structures)}")
        if min(dice_weight, cross_entropy_weight) < 0 or max(dice_weight, cross_entropy_weight) <= 0:
            raise ValueError(f"expected weights >= 0, one > 0, found {dice_weight} and {cross_entropy_weight}")
        self.network, self.structures, self.on_own_grid = network, tuple(structures), on_own_grid
        self.dice_weight, self.cross_entropy_weight = dice_weight, cross_entropy_weight
        self.learning_rate, self.make_optimisers = learning_rate, make_optimisers

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Give the loss of one batch."""
        loss, dice = self._judge(batch)
        self.log_dict({"loss": loss, **{f"dice_{name}": value for name, value in dice.items()}})
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Log the loss and the Dice coefficients of one batch, averaged over the epoch."""
        loss, dice = self._judge(batch)
        values = {"validation_loss": loss, **{f"validation_dice_{name}": value for name, value in dice.items()}}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(batch["image"]), sync_dist=True)

    def overlay(self, batch: dict[str, Tensor]) -> Overlay:
        """Give the picture of the first case of a batch."""
        with torch.no_grad():
            found = torch.sigmoid(self._logits(batch["image"][:1]))[0].cpu().numpy()
        true = batch["masks"][0].float().cpu().numpy()
        return Overlay(
            image=batch["image"][0, 0].float().cpu().numpy(),
            predicted={name: found[channel] for channel, name in enumerate(self.structures)},
            true={name: true[channel] for channel, name in enumerate(self.structures)},
        )

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's own union of optimiser descriptions)
        """Give the optimiser, with its schedule if it has one."""
        parameters = list(self.network.parameters())
        if self.make_optimisers is not None:
            return self.make_optimisers(parameters)
        return torch.optim.Adam(parameters, lr=self.learning_rate)

    def _logits(self, image: Tensor) -> Tensor:
        """Give the logits on the grid of the image."""
        logits: Tensor = self.network.own_logits(image) if self.on_own_grid else self.network(image)
        return logits.float()

    def _judge(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of a batch, and the Dice coefficient of each structure."""
        logits, masks = self._logits(batch["image"]), batch["masks"].float()
        loss = self.dice_weight * dice_loss(torch.sigmoid(logits), masks)
        loss = loss + self.cross_entropy_weight * nn.functional.binary_cross_entropy_with_logits(logits, masks)
        dice = hard_dice(logits.detach(), masks)
        return loss, dict(zip(self.structures, dice, strict=True))
