"""Training of segmentation networks: the stream's masks are those of the moved surfaces, and a run learns."""

from __future__ import annotations

from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from segnet_fixtures import own_centres, random_network
from surfaces import sphere

from model.bundle import load_bundle
from model.bundle.schema import HuWindow, TrainingSection
from model.errors import InputError
from model.evaluation.overlap import dice
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.networks.registry import load_network
from model.networks.segnet import PublishedSegNet
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet, TrainingCase
from model.training.segmentation_bundle import write_segnet_bundle
from model.training.segmentation_data import SegmentationViews
from model.training.segmentation_module import SegmentationTraining, hard_dice

GRID = 32
STILL = {"rotation_deg": 0.0, "translation_mm": 0.0, "scale": 0.0, "controls": (4,), "displacements_mm": (0.0,)}
PLAIN = {"gain": 0.0, "offset": 0.0, "noise": 0.0, "cut": 0.0, "shading": 0.0}


def atlas() -> dict[str, SurfaceMesh]:
    """Give two balls, the smaller one within the larger and to one side."""
    return {
        "modiolus": sphere(3.0, (13.0, 16.0, 18.0), level=3),
        "labyrinth": sphere(7.0, (15.0, 16.0, 17.0), level=3),
    }


def cases(shift: tuple[float, float, float] = (1.0, -1.5, 2.0)) -> CaseSet:
    """Give one case: the balls are darker than the bone, shifted against the atlas."""
    meshes = atlas()
    places = np.moveaxis(np.indices((GRID,) * 3), 0, -1)
    image = np.full((GRID,) * 3, 1500.0)
    for centre, radius, hu in (((15.0, 16.0, 17.0), 7.0, 0.0), ((13.0, 16.0, 18.0), 3.0, 800.0)):
        distance = np.linalg.norm(places - np.add(centre, shift), axis=-1)
        inside = np.clip(radius - distance + 0.5, 0, 1)
        image = inside * hu + (1 - inside) * image
    vertices = np.concatenate([mesh.vertices for mesh in meshes.values()]).astype(np.float32)
    counts = {name: len(mesh.vertices) for name, mesh in meshes.items()}
    case = TrainingCase(image.astype(np.int16), vertices + np.array(shift, dtype=np.float32))
    return CaseSet((case,), vertices, counts)


def views(network: PublishedSegNet, **options: object) -> SegmentationViews:
    """Give the stream of the one case."""
    chosen = AugmentOptions(**{**options})  # type: ignore[arg-type]
    return SegmentationViews([cases()], (1.0,), atlas(), network=network, grid=GRID, length=80, seed=3, options=chosen)


@pytest.mark.parametrize("settings", [{}, {"factor": 2, "margin": 2}])
def test_masks_lie_where_the_changed_structures_are(settings: dict[str, int]) -> None:
    """At rest the balls lie where they were put; in changed views, what is dark lies within them."""
    network = random_network(2, structures=2, **settings)
    still = views(network, **STILL, **PLAIN)[0]["masks"].numpy()
    line = [own_centres(network, size) for size in still.shape[1:]]
    places = np.stack(np.meshgrid(*line, indexing="ij"), axis=-1)
    for mask, centre, radius in zip(still, ((14.0, 14.5, 20.0), (16.0, 14.5, 19.0)), (3.0, 7.0), strict=True):
        distance = np.linalg.norm(places - centre, axis=-1)
        assert (mask[distance < radius - 0.9 * network.factor] > 0.999).all()
        assert (mask[distance > radius + 0.9 * network.factor] < 0.001).all()
        volume = mask.sum() * network.factor**3
        assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)
    strong = views(network, rotation_deg=20.0, translation_mm=0.6, **PLAIN)
    moved = False
    for item in range(3):
        changed = strong[item]
        image, masks = changed["image"][0].numpy(), changed["masks"].numpy()
        bone, inner = (np.median(image[part]) for part in (masks[1] < 0.001, masks[0] > 0.999))
        fluid = np.median(image[(masks[1] > 0.999) & (masks[0] < 0.001)])
        assert fluid < inner < bone
        assert dice(image < (fluid + bone) / 2, masks[1] >= 0.5) > 0.93
        assert dice((image > (fluid + inner) / 2) & (masks[1] > 0.999), masks[0] >= 0.5) > 0.5
        moved |= bool(np.abs(masks - still).max() > 0.9)
    assert moved


def test_an_item_depends_on_the_seed_and_its_number_alone() -> None:
    network = random_network(2, structures=2, factor=2)
    one, other = views(network), views(network)
    third = one[3]
    _ = other[0]
    assert all(torch.equal(third[key], other[3][key]) for key in third)
    assert not torch.equal(one[4]["image"], third["image"])
    assert (third["image"].shape, third["masks"].shape, len(one)) == ((1, 16, 16, 16), (2, 16, 16, 16), 80)


def test_cases_of_another_atlas_are_refused() -> None:
    network, options = random_network(2, structures=2), AugmentOptions()
    other = {**atlas(), "labyrinth": sphere(7.0, level=2)}
    with pytest.raises(InputError, match="another atlas"):
        SegmentationViews([cases()], (1.0,), other, network=network, grid=GRID, length=1, seed=0, options=options)
    with pytest.raises(InputError, match="no training cases"):
        SegmentationViews([], (), atlas(), network=network, grid=GRID, length=1, seed=0, options=options)


def test_dice_counts_voxels_of_a_structure_over_the_batch() -> None:
    logits = torch.tensor([3.0, -1.0, 0.5, -2.0]).reshape(1, 1, 4, 1, 1).repeat(2, 2, 1, 1, 1)
    masks = torch.zeros_like(logits)
    masks[0, 0, 0] = 0.6
    masks[1, 0, 1] = 0.5
    # Four voxels found, two true, one of them found; the second structure: four found, none true.
    torch.testing.assert_close(hard_dice(logits, masks), torch.tensor([2 / 6, 0.0]))
    torch.testing.assert_close(hard_dice(-torch.ones(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)), torch.ones(1))


class Losses(lightning.Callback):
    """Keeps what a run logged."""

    def __init__(self) -> None:
        """Start empty."""
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        self.losses.append(float(trainer.callback_metrics["loss"]))


def test_a_short_run_learns_and_its_bundle_gives_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PublishedSegNet(base_width=4, structures=2, factor=2)
    stream = views(network, **STILL)
    module = SegmentationTraining(network, structures=tuple(atlas()), learning_rate=1e-2, on_own_grid=True)
    seen = Losses()
    trainer = lightning.Trainer(
        max_steps=60,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[seen],
    )
    loader = torch.utils.data.DataLoader(stream, batch_size=1)
    unseen = torch.utils.data.DataLoader(torch.utils.data.Subset(stream, [79]))
    trainer.fit(module, loader, unseen)
    assert np.mean(seen.losses[-5:]) < 0.6 * seen.losses[0]
    metrics = trainer.validate(module, unseen, verbose=False)
    assert set(metrics[0]) == {"validation_loss", "validation_dice_modiolus", "validation_dice_labyrinth"}
    assert metrics[0]["validation_dice_labyrinth"] > 0.5
    shown = module.overlay(next(iter(loader)))
    assert shown.image.shape == (16, 16, 16)
    assert set(shown.predicted) == set(shown.true) == set(atlas())
    path = write_segnet_bundle(
        tmp_path,
        network,
        name="short-run",
        version="0.1.0",
        structures=tuple(atlas()),
        frame=CanonicalFrame((GRID,) * 3, 0.2, "LPS", "left", {}),
        intensity=HuWindow(low=-1000.0, high=2600.0),
        training=TrainingSection(data="One made-up case."),
    )
    image = stream[0]["image"][None]
    network.eval()
    loaded = load_network(load_bundle(path))
    assert isinstance(loaded, PublishedSegNet)
    torch.testing.assert_close(loaded.own_logits(image), network.own_logits(image).detach())


def test_crops_are_judged_on_their_own_grid() -> None:
    """A batch on the crop's grid and the same network give the loss of the logits on that grid."""
    network = random_network(2, structures=2, factor=2)
    module = SegmentationTraining(network, structures=("modiolus", "labyrinth"), dice_weight=0.0)
    image, masks = torch.randn(1, 1, 16, 16, 16), (torch.rand(1, 2, 16, 16, 16) > 0.5).float()
    loss, _ = module._judge({"image": image, "masks": masks})
    probability = torch.sigmoid(network(image))
    expected = -(masks * probability.log() + (1 - masks) * (1 - probability).log()).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("change", [{"structures": ("labyrinth",)}, {"dice_weight": 0.0, "cross_entropy_weight": 0.0}])
def test_settings_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    settings: dict[str, object] = {"structures": ("modiolus", "labyrinth"), **change}
    with pytest.raises(ValueError, match="expected"):
        SegmentationTraining(random_network(2, structures=2), **settings)  # type: ignore[arg-type]
