"""The training step of registration networks, of one field or of several passes, under any weighted loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.losses.batch import Prediction
from model.losses.fields import roughness
from model.losses.images import pull_back
from model.losses.weighted import WeightedLoss
from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh
from model.networks.coarse_to_fine import CoarseToFineNet
from model.training.comparisons import compare_crops, compare_views, mean_errors
from model.training.config import TrainingConfig
from model.training.outlines import registration_overlay
from model.training.registrars import Registration, register_crops, register_views
from model.training.runtime.optimisation import optimisation
from model.training.runtime.overlay import Overlay
from model.training.surface_masks import SurfaceMasks

IMAGE_TERMS = ("dice", "mse", "ncc", "lncc")
"""Terms that look at images seen through the whole field; they are added after the last pass only."""

VALIDATION_SEED = 0
"""Of the points that a validation draws: the same at every validation."""


class RegistrationTraining(lightning.LightningModule):
    """Trains a registration network on batches of `ChangedCases` or `CropDataset`.

    The loss is the weighted loss of the configuration after every pass, those before the last one weighing less, and
    for networks of several passes the roughness of each field, per sample of the field.
    """

    def __init__(
        self,
        network: nn.Module,
        image: npt.NDArray[np.floating[Any]],
        meshes_ijk: Mapping[str, SurfaceMesh],
        config: TrainingConfig,
        *,
        spacing_mm: float,
        steps: int,
    ) -> None:
        """Keep the network and what it registers to.

        Args:
            network: a `CoarseToFineNet`, or any map from patient and atlas crops to a field in crop voxels.
            image: (I, J, K) atlas image in [-1, 1].
            meshes_ijk: surfaces of the atlas by structure, crop voxels.
            config: the run; its loss, passes, sampler and optimiser are used.
            spacing_mm: crop voxel.
            steps: steps of the run.
        """
        super().__init__()
        self.network, self.config, self.steps = network, config, steps
        self.meshes_ijk, self.spacing_mm = dict(meshes_ijk), spacing_mm
        self.counts = {name: len(mesh.vertices) for name, mesh in meshes_ijk.items()}
        atlas = torch.from_numpy(np.asarray(image, dtype=np.float32))[None, None]
        vertices = np.concatenate([mesh.vertices for mesh in meshes_ijk.values()]).astype(np.float32)
        self.atlas_image: Tensor
        self.atlas_view: Tensor
        self.atlas_points: Tensor
        self.atlas_masks: Tensor | None
        # Not kept in checkpoints: a resumed run has the same atlas.
        self.register_buffer("atlas_image", atlas, persistent=False)
        view = network.look(atlas) if isinstance(network, CoarseToFineNet) else atlas
        self.register_buffer("atlas_view", view, persistent=False)
        self.register_buffer("atlas_points", torch.from_numpy(vertices), persistent=False)
        pulled = config.loss.dice > 0 and config.loss.dice_by == "field"
        self.register_buffer("atlas_masks", self._masks(atlas.shape[2:]) if pulled else None, persistent=False)
        voxelized = config.loss.dice > 0 and config.loss.dice_by == "surface"
        self.surface_masks = SurfaceMasks(self.meshes_ijk, atlas.shape[2:]) if voxelized else None
        unit = spacing_mm if config.loss_unit == "mm" else 1.0
        self.loss = WeightedLoss(config.loss, spacing_mm=unit)
        early = config.loss.model_dump() | dict.fromkeys(IMAGE_TERMS, 0.0) | {"dice_by": "field"}
        points_only = any(early[name] for name in ("chamfer", "point_to_point", "point_to_plane"))
        self.early_loss = WeightedLoss(type(config.loss)(**early), spacing_mm=unit) if points_only else None
        self.passes = network.passes if isinstance(network, CoarseToFineNet) else 1

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        """Give the loss of a batch."""
        single = self.global_step < round(self.config.passes.single * self.steps)
        loss, parts, errors = self._measure(batch, 1 if single else self.passes, None)
        size = len(batch["view"] if "view" in batch else batch["image"])
        shown: dict[str, Tensor] = {"loss": loss.detach()}
        shown |= {name: error for name, error in errors.items() if name in ("before", "after")}
        self.log_dict(shown, prog_bar=True, batch_size=size)
        others = {name: value for name, value in (parts | errors).items() if name not in shown}
        self.log_dict(others, batch_size=size)
        return loss

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        """Log the loss and errors of a validation case, with all passes."""
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        loss, parts, errors = self._measure(batch, self.passes, generator)
        figures = {"validation_loss": loss, **{f"validation_{name}": v for name, v in (parts | errors).items()}}
        self.log_dict(figures, on_step=False, on_epoch=True, batch_size=1)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's own union of optimiser descriptions)
        """Give the optimiser and schedule of the configuration."""
        return optimisation(self.network.parameters(), self.config.optimiser, self.steps)

    def overlay(self, batch: dict[str, Any]) -> Overlay:
        """Show the first case of a batch with all passes."""
        registration = self._register(batch, self.passes)
        with torch.autocast(self.device.type, enabled=False):
            moved = registration.move(self.atlas_points[None], self.passes, slice(0, 1))[0]
        return registration_overlay(batch, moved.cpu().numpy(), self.meshes_ijk, self.network)

    def _measure(
        self, batch: dict[str, Any], passes: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Give the loss, the terms after the last pass, and mean errors in mm where points correspond."""
        registration = self._register(batch, passes)
        with torch.autocast(self.device.type, enabled=False):
            total = torch.stack([field.sum() for field in registration.fields]).sum()
            if not torch.isfinite(total):
                # Points cannot be carried to nowhere; whoever runs the training sees that the loss is no number.
                return total * torch.nan, {}, {}
            return self._judge(registration, batch, passes, generator)

    def _register(self, batch: dict[str, Any], passes: int) -> Registration:
        """Run the network."""
        if isinstance(self.network, CoarseToFineNet):
            self.network.passes = passes
            view = batch["view"] if "view" in batch else self.network.look(batch["image"])
            return register_views(self.network, view, self.atlas_view)
        return register_crops(self.network, batch["image"], self.atlas_view, self.config.sampler)

    def _judge(
        self, registration: Registration, batch: dict[str, Any], passes: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Compare what the network found with the truth; see `_measure`."""
        if isinstance(self.network, CoarseToFineNet) and "view" in batch:
            masks = None if self.atlas_masks is None else self.network.look(self.atlas_masks)
            comparisons = compare_views(batch, self.atlas_points, tuple(self.counts), self.atlas_view, masks)
        else:
            comparisons = compare_crops(batch, self.atlas_points, self.counts, self.atlas_image, self.atlas_masks)
        warped_image, warped_masks = self._warped(registration, batch)
        regular, parts = self.loss.regularity(
            Prediction(self.atlas_points[None], self.counts, registration.fields, registration.field_spacing)
        )
        if isinstance(self.network, CoarseToFineNet):
            rough = torch.stack([roughness(field) for field in registration.fields]).sum()
            regular, parts = regular + self.config.passes.stiffness * rough, parts | {"stiffness": rough.detach()}
        total, share = regular, 1 / len(comparisons)
        found: list[dict[str, Tensor]] = []
        errors: list[dict[str, Tensor]] = []
        for comparison in comparisons:
            for done in range(1, passes + 1):
                last = done == passes
                loss = self.loss if last else self.early_loss
                if loss is None:
                    continue
                moved = registration.move(comparison.atlas_points, done, comparison.cases)
                prediction = Prediction(
                    moved,
                    comparison.counts,
                    warped_image=None if warped_image is None else warped_image[comparison.cases],
                    warped_masks=None if warped_masks is None else warped_masks[comparison.cases],
                )
                target = comparison.target
                if last and self.surface_masks is not None and "masks" in batch:
                    prediction = replace(prediction, warped_masks=self.surface_masks(moved))
                    target = replace(target, masks=batch["masks"][comparison.cases])
                data, terms = loss.data(prediction, target, generator)
                total = total + share * (1.0 if last else self.config.passes.earlier_weight) * data
            found.append(terms)
            errors.append(mean_errors(comparison, moved.detach(), self.spacing_mm))
        return total, parts | _means(found), _means(errors)

    def _warped(self, registration: Registration, batch: dict[str, Any]) -> tuple[Tensor | None, Tensor | None]:
        """Pull image and masks of the patients back onto the atlas, as far as the loss looks at them."""
        weights = self.config.loss

        def back(values: Tensor) -> Tensor:
            if "view" in batch and isinstance(self.network, CoarseToFineNet):
                return self.network.pull_back(values, registration.fields)
            return pull_back(values, registration.ddf())

        image, masks = batch.get("view", batch.get("image")), batch.get("masks")
        looks_at_image = weights.mse or weights.ncc or weights.lncc
        return (
            back(image) if image is not None and looks_at_image else None,
            back(masks) if masks is not None and weights.dice and weights.dice_by == "field" else None,
        )

    def _masks(self, shape: torch.Size) -> Tensor:
        """Give the (1, C, I, J, K) masks of the atlas."""
        masks = np.stack([voxelize(mesh, (shape[0], shape[1], shape[2])) for mesh in self.meshes_ijk.values()])
        return torch.from_numpy(masks.astype(np.float32))[None]


def _means(found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Give the mean of each figure over the comparisons that have it, to be logged."""
    names = dict.fromkeys(name for figures in found for name in figures)
    return {name: torch.stack([one[name].detach() for one in found if name in one]).mean() for name in names}
