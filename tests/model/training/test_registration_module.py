"""The loss of registration networks, computed again by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import map_coordinates
from tiny_training import GRID, REGION, SAMPLES, SPACING_MM, STRUCTURE, atlas_image, atlas_mesh, draws, tiny_config
from torch.utils.data import default_collate

from model.errors import InputError
from model.losses.occupancy import soft_occupancy
from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh
from model.networks.coarse_to_fine import CoarseToFineNet
from model.networks.published import PublishedRegistrationNet
from model.registration.sampler import sample_field
from model.structures import LABYRINTH, MODIOLUS
from model.training.config import TrainingConfig
from model.training.crops.case import WHOLE
from model.training.crops.dataset import collate_crops
from model.training.registration_module import RegistrationTraining

PUBLISHED: dict[str, Any] = {
    "name": "published",
    "loss_unit": "voxel",
    "network": {"class": "published_registration"},
    "loss": {"chamfer": 1.0, "smoothness": 4.0},
}


def passes_network() -> CoarseToFineNet:
    """Give a network of two passes whose fields are not zero."""
    torch.manual_seed(3)
    network = CoarseToFineNet(grid=GRID, region=REGION, samples=SAMPLES, widths=(8,), finest=0, passes=2)
    torch.nn.init.normal_(network.field_net.heads[0].weight, std=0.1)  # type: ignore[arg-type]
    return network


def logged(module: RegistrationTraining) -> dict[str, float]:
    """Have a module that is in no training loop keep what it logs."""
    found: dict[str, float] = {}

    def keep(values: dict[str, Any], **_: object) -> None:
        found.update({name: float(value.detach()) for name, value in values.items()})

    module.log_dict = keep  # type: ignore[assignment, method-assign]
    return found


@pytest.mark.parametrize("single", [0.0, 1.0])
def test_passes_are_weighed_as_stated(single: float) -> None:
    loss = {"point_to_point": 2.0, "point_to_plane": 0.7, "chamfer": 0.0}
    passes = {"single": single, "earlier_weight": 0.25, "stiffness": 0.3}
    config = tiny_config(loss=loss, passes=passes)
    module = RegistrationTraining(
        passes_network(), atlas_image(), {STRUCTURE: atlas_mesh()}, config, spacing_mm=SPACING_MM, steps=10
    )
    found = logged(module)
    batch = default_collate([draws(0)[n] for n in range(2)])
    value = float(module.training_step(batch, 0).detach())

    network = passes_network()
    network.passes = 2 if single == 0 else 1
    with torch.no_grad():
        atlas_view = network.look(torch.from_numpy(atlas_image())[None, None])
        fields = network.fields(batch["view"], atlas_view.expand(2, -1, -1, -1, -1))
        points = torch.from_numpy(atlas_mesh().vertices).float()[batch["indices"]]
        moved = [network.move(points, fields[: n + 1]).double().numpy() for n in range(len(fields))]
    true, normals = batch["vertices"].double().numpy(), batch["normals"].double().numpy()
    expected = 0.0
    for field in fields:
        second = [np.diff(field.double().numpy(), n=2, axis=axis) ** 2 for axis in (2, 3, 4)]
        expected += 0.3 * float(np.mean([part.mean() for part in second]))
    for number, at in enumerate(moved):
        distance = SPACING_MM * np.sqrt(((at - true) ** 2).sum(-1) + 1e-6).mean()
        plane = SPACING_MM * np.abs(((at - true) * normals).sum(-1)).mean()
        expected += (1.0 if number == len(moved) - 1 else 0.25) * (2.0 * distance + 0.7 * plane)
    assert value == pytest.approx(expected, rel=1e-4)
    after = SPACING_MM * np.linalg.norm(moved[-1] - true, axis=-1).mean()
    before = SPACING_MM * np.linalg.norm(points.numpy() - true, axis=-1).mean()
    assert [found["before"], found["after"]] == pytest.approx([before, after], rel=1e-4)
    assert found["loss"] == pytest.approx(value)


def meshes() -> dict[str, SurfaceMesh]:
    """Give an atlas of two structures."""
    ball = atlas_mesh()
    small = ball.with_vertices((ball.vertices - 7) * 0.5 + 7)
    return {MODIOLUS.id: small, LABYRINTH.id: ball}


def crop_items(rng: np.random.Generator, *, whole: bool) -> list[dict[str, Any]]:
    """Give a case with both structures, or all its points as one, and a case that lacks a structure."""

    def points(count: int) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(3, 11, (count, 3))).float()

    def item(known: dict[str, torch.Tensor]) -> dict[str, Any]:
        image = torch.from_numpy(rng.uniform(-1, 1, (1, GRID, GRID, GRID))).float()
        masks = torch.from_numpy(rng.uniform(0, 1, (2, GRID, GRID, GRID))).float()
        return {"image": image, "points": known, "corresponding": False, "masks": masks}

    first = {WHOLE: points(50)} if whole else {MODIOLUS.id: points(20), LABYRINTH.id: points(30)}
    return [item(first), item({LABYRINTH.id: points(25)})]


def brute_chamfer(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Give the chamfer distance by all pairs."""
    squares = ((one[:, None] - other[None]) ** 2).sum(-1)
    return float(squares.min(axis=0).mean() + squares.min(axis=1).mean())


@pytest.mark.parametrize("whole", [False, True])
def test_the_published_loss_on_crops(whole: bool) -> None:
    torch.manual_seed(0)
    network = PublishedRegistrationNet(base_width=4, levels=1).train()
    config = TrainingConfig.model_validate(PUBLISHED)
    module = RegistrationTraining(network, atlas_image(), meshes(), config, spacing_mm=0.2, steps=10)
    logged(module)
    items = crop_items(np.random.default_rng(0), whole=whole)
    batch = collate_crops(items)
    loss = module.training_step(batch, 0)
    loss.backward()
    # The bias of a convolution before a batch norm changes nothing.
    free = [name for name, value in network.named_parameters() if not name.endswith("conv.bias")]
    assert all(float(network.get_parameter(name).grad.abs().max()) > 0 for name in free)  # type: ignore[union-attr]

    with torch.no_grad():
        ddf = network(batch["image"], torch.from_numpy(atlas_image())[None, None].expand(2, -1, -1, -1, -1))
    field = ddf.double().numpy()
    expected = 4.0 * float(np.mean([(np.diff(field, axis=axis) ** 2).mean() for axis in (2, 3, 4)]))
    vertices = {name: torch.from_numpy(mesh.vertices) for name, mesh in meshes().items()}
    for number, item in enumerate(items):
        names = list(vertices) if set(item["points"]) == {WHOLE} else list(item["points"])
        atlas = torch.cat([vertices[name] for name in names])
        moved = atlas + sample_field(ddf[number].double(), atlas, "published")
        true = torch.cat(list(item["points"].values()))
        expected += 0.5 * brute_chamfer(moved.numpy(), true.double().numpy())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("whole", [False, True])
def test_dice_may_be_that_of_the_moved_surfaces(whole: bool) -> None:
    loss = {"dice": 1.0, "dice_by": "surface", "smoothness": 4.0}
    config = TrainingConfig.model_validate({**PUBLISHED, "loss": loss})
    torch.manual_seed(0)
    network = PublishedRegistrationNet(base_width=4, levels=1).train()
    module = RegistrationTraining(network, atlas_image(), meshes(), config, spacing_mm=0.2, steps=10)
    found = logged(module)
    batch = collate_crops(crop_items(np.random.default_rng(0), whole=whole))
    module.training_step(batch, 0).backward()
    assert float(network.get_parameter("field_bias").grad.abs().max()) > 0  # type: ignore[union-attr]

    with torch.no_grad():
        ddf = network(batch["image"], torch.from_numpy(atlas_image())[None, None].expand(2, -1, -1, -1, -1))
    expected = []
    for number in range(2):
        for channel, mesh in enumerate(meshes().values()):
            vertices = torch.from_numpy(mesh.vertices)
            moved = vertices + sample_field(ddf[number].double(), vertices, "published")
            inside = soft_occupancy(moved[None], torch.from_numpy(mesh.triangles).long(), (GRID,) * 3)[0].numpy()
            true = batch["masks"][number, channel].numpy()
            expected.append(1 - 2 * (inside * true).sum() / (inside + true).sum())
    assert found["dice"] == pytest.approx(np.mean(expected), rel=1e-3)
    # What is thrown out of the crop neither stops the run nor makes its loss no number.
    assert torch.isfinite(module.surface_masks(1e4 * torch.randn(1, sum(module.counts.values()), 3))).all()  # type: ignore[misc]


def test_images_and_masks_are_compared_on_the_atlas_by_either_network() -> None:
    terms = {"chamfer": 0.5, "dice": 1.0, "mse": 1.0, "ncc": 1.0, "lncc": 1.0, "bending": 0.1, "folding": 1.0}
    weights = {**terms, "lncc_window": 3}
    batch = collate_crops(crop_items(np.random.default_rng(1), whole=False))
    own = TrainingConfig.model_validate({"name": "own", "loss": weights})
    published = TrainingConfig.model_validate({**PUBLISHED, "loss": weights})
    for network, config in ((passes_network(), own), (PublishedRegistrationNet(base_width=4, levels=1), published)):
        module = RegistrationTraining(network, atlas_image(), meshes(), config, spacing_mm=0.2, steps=1)
        found = logged(module)
        assert torch.isfinite(module.training_step(batch, 0))
        assert set(terms) <= set(found)
        assert all(found[name] > 0 for name in ("chamfer", "dice", "mse", "ncc", "lncc", "bending"))
        module.eval()
        module.validation_step(collate_crops(crop_items(np.random.default_rng(1), whole=False)[:1]), 0)
        once = found["validation_loss"]
        module.validation_step(collate_crops(crop_items(np.random.default_rng(1), whole=False)[:1]), 0)
        assert found["validation_loss"] == once


def test_images_and_masks_are_compared_in_the_view_of_a_network_that_sees_views() -> None:
    """By the map written out: every sample of the atlas's view takes what the patient has where the fields carry it."""
    weights = {"point_to_point": 0.0, "point_to_plane": 0.0, "chamfer": 0.0, "dice": 1.0, "mse": 0.5}
    config = tiny_config(loss=weights, passes={"single": 0.0, "earlier_weight": 0.25, "stiffness": 0.0})
    network = passes_network()
    module = RegistrationTraining(
        network, atlas_image(), {STRUCTURE: atlas_mesh()}, config, spacing_mm=SPACING_MM, steps=10
    )
    found = logged(module)
    batch = default_collate([draws(0, masks=True)[n] for n in range(2)])
    value = float(module.training_step(batch, 0).detach())
    line = np.linspace(*REGION, SAMPLES)
    lattice = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    atlas_view = interpolated(atlas_image(), lattice)
    atlas_mask = interpolated(voxelize(atlas_mesh(), (GRID,) * 3).astype(np.float32), lattice)
    with torch.no_grad():
        view = network.look(torch.from_numpy(atlas_image())[None, None])
        fields = network.fields(batch["view"], view.expand(2, -1, -1, -1, -1))
        points = torch.from_numpy(lattice).float()[None].expand(2, -1, -1)
        moved = network.move(points, fields).double().numpy()
    errors, overlaps = [], []
    for number in range(2):
        samples = (np.clip(moved[number], *REGION) - REGION[0]) / (REGION[1] - REGION[0]) * (SAMPLES - 1)
        errors.append(((interpolated(batch["view"][number, 0].numpy(), samples) - atlas_view) ** 2).mean())
        mask = interpolated(batch["masks"][number, 0].numpy(), samples)
        overlaps.append(2 * (mask * atlas_mask).sum() / (mask.sum() + atlas_mask.sum()))
    assert found["mse"] == pytest.approx(np.mean(errors), rel=1e-3)
    assert found["dice"] == pytest.approx(1 - np.mean(overlaps), rel=1e-3)
    assert value == pytest.approx(found["dice"] + 0.5 * found["mse"], rel=1e-5)


def interpolated(image: npt.NDArray[np.floating], points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Read an image between its samples."""
    return np.asarray(map_coordinates(image, points.T, order=1, mode="nearest"))


def test_a_term_that_lacks_what_it_needs_is_named() -> None:
    batch = collate_crops(crop_items(np.random.default_rng(0), whole=False))
    config = TrainingConfig.model_validate({**PUBLISHED, "loss": {"point_to_point": 1.0}})
    network = PublishedRegistrationNet(base_width=4, levels=1)
    module = RegistrationTraining(network, atlas_image(), meshes(), config, spacing_mm=0.2, steps=10)
    with pytest.raises(InputError, match="point_to_point"):
        module.training_step(batch, 0)
