"""Draws of a folder of crops: decided by seed and number, points and masks turning with the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crop_fixtures import SIX, sphere_atlas, spheres, write_folders

from model.meshes.topology import vertex_normals
from model.structures import STRUCTURE_IDS
from model.training.crops.case import CropCase
from model.training.crops.dataset import CropDataset, collate_crops, has_masks, load_masks
from model.training.crops.options import CropOptions
from model.training.crops.read import read_crops

THREE = {name: SIX[name] for name in ("ear0", "ear1", "ear2")}


@pytest.fixture(scope="module", params=["npz", "labels"])
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[CropCase]:
    return read_crops(*write_folders(tmp_path_factory.mktemp("crops"), THREE, request.param), sphere_atlas())


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(torch.equal(one["image"], other["image"])) and all(
        torch.equal(points, other["points"][name]) for name, points in one["points"].items()
    )


def test_a_draw_is_decided_by_seed_and_number(cases: list[CropCase]) -> None:
    first, again = (CropDataset(cases, sphere_atlas(), train=True, seed=4) for _ in range(2))
    for number in (5, 0, 11):
        assert same(first[number], again[number])
    assert not same(first[0], CropDataset(cases, sphere_atlas(), train=True, seed=5)[0])


def test_an_epoch_has_every_case_once_in_a_new_order(cases: list[CropCase]) -> None:
    still = CropDataset(cases, sphere_atlas(), train=True, seed=0, options=CropOptions(rotation_deg=0))
    plain = [CropDataset(cases, sphere_atlas(), train=False)[number]["image"] for number in range(3)]
    orders = set()
    for epoch in range(6):
        drawn = [still[3 * epoch + place]["image"] for place in range(3)]
        order = tuple(
            next(n for n, image in enumerate(plain) if torch.allclose(image, one, atol=1e-5)) for one in drawn
        )
        assert sorted(order) == [0, 1, 2]
        orders.add(order)
    assert len(orders) > 1


def test_validation_cases_stay_as_they_are(cases: list[CropCase]) -> None:
    data = CropDataset(cases, sphere_atlas(), train=False)
    for number, case in enumerate(cases):
        np.testing.assert_allclose(data[number]["image"][0], THREE[case.name].image(), atol=1e-6)
        for name, points in case.points.items():
            np.testing.assert_array_equal(data[number]["points"][name], points)
    assert len(data) == 3
    with pytest.raises(IndexError):
        data[3]


def test_masks_lie_where_points_and_image_show_them(cases: list[CropCase]) -> None:
    data = CropDataset(cases, sphere_atlas(), train=True, seed=1, with_masks=True)
    for number in range(4):
        item = data[number]
        assert item["masks"].shape == (4, 32, 32, 32)
        assert 0 <= float(item["masks"].min()) <= float(item["masks"].max()) <= 1
        assert float(item["image"].min()) >= -1
        places = torch.stack(torch.meshgrid(*[torch.arange(32.0)] * 3, indexing="ij"), -1)
        for name, mask in zip(STRUCTURE_IDS, item["masks"], strict=True):
            centre = (places * mask[..., None]).sum(dim=(0, 1, 2)) / mask.sum()
            assert (centre - item["points"][name].mean(0)).abs().max() < 0.3
        inner, outside = item["masks"][:3].amax(0) > 0.99, item["masks"].amax(0) == 0
        # Edges are soft, and the corners that the rotation brings in have the fill, 0.
        assert float(item["image"][0][inner].mean()) > 0.4
        assert float(item["image"][0][outside].mean()) < -0.4


def test_normals_turn_with_the_points(cases: list[CropCase]) -> None:
    if not cases[0].corresponding:
        pytest.skip("points of masks have no triangles of the atlas")
    item = CropDataset(cases, sphere_atlas(), train=True, seed=2, with_normals=True)[0]
    for name, normals in item["normals"].items():
        points = item["points"][name]
        outward = torch.nn.functional.normalize(points - points.mean(0), dim=1)
        assert (normals * outward).sum(1).min() > 0.99
    assert vertex_normals(spheres()[STRUCTURE_IDS[0]]).shape == item["normals"][STRUCTURE_IDS[0]].shape


def test_a_batch_holds_cases_of_different_points(cases: list[CropCase]) -> None:
    data = CropDataset(cases, sphere_atlas(), train=False, with_masks=True)
    batch = collate_crops([data[0], data[1]])
    assert batch["image"].shape == (2, 1, 32, 32, 32)
    assert batch["masks"].shape == (2, 4, 32, 32, 32)
    assert batch["corresponding"] == [cases[0].corresponding] * 2
    assert [len(points) for points in batch["points"]] == [4, 4]


def test_points_alone_give_no_masks(tmp_path: Path) -> None:
    images, vertices = write_folders(tmp_path, THREE)
    together = np.concatenate(list(THREE["ear0"].vertices().values()))
    np.savez(vertices / "ear0.npz", vertices=together[::2])
    first, second, _ = read_crops(images, vertices, sphere_atlas())
    assert not has_masks(first, sphere_atlas())
    assert has_masks(second, sphere_atlas())
    with pytest.raises(ValueError, match="ear0"):
        load_masks(first, sphere_atlas())
