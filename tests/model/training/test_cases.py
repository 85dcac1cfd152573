"""Training cases as files, and the stream that changes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from model.errors import InputError
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet, TrainingCase
from model.training.data import ChangedCases, corner_normals

GRID, COUNTS = 16, {"modiolus": 7, "labyrinth": 11}


def make_set(seed: int, cases: int = 3, size: int = GRID) -> CaseSet:
    """Give random cases of one atlas."""
    rng = np.random.default_rng(seed)
    atlas = np.random.default_rng(99).uniform(3, 12, (18, 3)).astype(np.float32)
    made = [
        TrainingCase(
            rng.integers(-1000, 2000, (size,) * 3, dtype=np.int16),
            atlas + rng.normal(0, 0.3, atlas.shape).astype(np.float32),
        )
        for _ in range(cases)
    ]
    return CaseSet(tuple(made), atlas, COUNTS)


def test_cases_come_back_as_saved(tmp_path: Path) -> None:
    cases = make_set(0)
    cases.save(tmp_path / "real.npz")
    back = CaseSet.load(tmp_path / "real.npz")
    assert dict(back.counts) == COUNTS
    assert list(back.counts) == list(COUNTS)
    assert np.array_equal(back.atlas_vertices_ijk, cases.atlas_vertices_ijk)
    assert len(back.cases) == 3
    for one, other in zip(back.cases, cases.cases, strict=True):
        assert np.array_equal(one.image_hu, other.image_hu)
        assert one.image_hu.dtype == np.int16
        assert np.array_equal(one.vertices_ijk, other.vertices_ijk)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "real.npz"
    make_set(0).save(path)
    whole = path.read_bytes()
    with pytest.raises(InputError, match="cannot be read"):
        CaseSet.load(tmp_path / "none.npz")
    for content in (b"", b"something else", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            CaseSet.load(path)
    np.savez(path, images=np.zeros(3))
    with pytest.raises(InputError, match="cannot be read"):
        CaseSet.load(path)


TRIANGLES = {"modiolus": np.array([[0, 1, 2], [4, 5, 6]]), "labyrinth": np.array([[0, 1, 10], [3, 9, 4]])}


def stream(sets: list[CaseSet] | None = None, shares: tuple[float, ...] = (0.5, 0.5), **changes: Any) -> ChangedCases:  # noqa: ANN401
    """Give a stream of two sets, one of half the resolution."""
    settings: dict[str, Any] = {
        "grid": GRID,
        "region": (1, 14),
        "samples": 12,
        "points": 6,
        "length": 40,
        "seed": 1,
        "options": AugmentOptions(),
    }
    return ChangedCases(sets or [make_set(0), make_set(1, size=GRID // 2)], shares, TRIANGLES, **(settings | changes))


def test_items_are_decided_by_seed_and_number() -> None:
    one, same, other = stream(), stream(), stream(seed=2)
    for number in (0, 17, 5):
        assert all(torch.equal(one[number][key], same[number][key]) for key in ("view", "vertices", "indices"))
        assert not torch.equal(one[number]["view"], other[number]["view"])
    assert not torch.equal(one[0]["view"], one[1]["view"])


def test_worker_processes_change_nothing() -> None:
    loaders = [torch.utils.data.DataLoader(stream(length=6), batch_size=2, num_workers=n) for n in (0, 2)]
    for alone, parallel in zip(*loaders, strict=True):
        assert all(torch.equal(alone[key], parallel[key]) for key in alone)


def test_items_hold_as_many_points_of_every_structure() -> None:
    items = stream(stack=2)
    for number in range(5):
        item = items[number]
        assert item["view"].shape == (1, 24, 24, 24)
        assert item["vertices"].shape == item["normals"].shape == (12, 3)
        triples = {tuple(triple) for triple in item["indices"].reshape(-1, 3).tolist()}
        assert triples <= {(0, 1, 2), (4, 5, 6), (7, 8, 17), (10, 16, 11)}
        assert item["indices"][:6].max() < 7 <= item["indices"][6:].min()


def test_shares_decide_which_set_is_drawn() -> None:
    empty = CaseSet((), make_set(0).atlas_vertices_ijk, COUNTS)
    drawn = stream([make_set(0, 1), empty], (1.0, 0.0))
    assert all(drawn[number]["view"].numel() for number in range(10))


def test_vertices_belong_to_the_indices() -> None:
    """Without any change of shape the vertices are those of the case."""
    still = AugmentOptions(rotation_deg=0, translation_mm=0, scale=0, displacements_mm=(0, 0, 0, 0))
    cases = make_set(0, 1)
    items = stream([cases], (1.0,), options=still)
    for number in range(3):
        expected = cases.cases[0].vertices_ijk[items[number]["indices"].numpy()]
        np.testing.assert_allclose(items[number]["vertices"].numpy(), expected, atol=1e-4)


def test_normals_are_those_of_the_surface() -> None:
    """The corners of triangles of a sphere, wound to the outside, have normals along their positions."""
    sphere = trimesh.creation.icosphere(subdivisions=4)
    corners = torch.from_numpy(sphere.vertices[sphere.faces].reshape(-1, 3).copy())
    assert float((corner_normals(corners) * corners).sum(-1).min()) > 0.99
    flat = torch.tensor([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]])
    assert torch.equal(corner_normals(flat), torch.zeros(3, 3))


def test_masks_lie_where_the_vertices_lie() -> None:
    """A ball that was turned, moved and bent with the view fills the voxels of the view around its vertices."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=3.0)
    vertices = (np.asarray(ball.vertices) + np.array([7.0, 8.0, 7.5])).astype(np.float32)
    cases = CaseSet((TrainingCase(np.zeros((GRID,) * 3, dtype=np.int16), vertices),), vertices, {"labyrinth": 162})
    settings: dict[str, Any] = {
        "grid": GRID,
        "region": (1, 14),
        "samples": 14,
        "stack": 2,
        "points": 9000,  # every vertex is drawn
        "length": 4,
        "seed": 3,
        "options": AugmentOptions(),
    }
    triangles = {"labyrinth": np.asarray(ball.faces)}
    with_masks, without = (ChangedCases([cases], (1.0,), triangles, **settings, masks=some) for some in (True, False))
    for number in range(4):
        item, plain = with_masks[number], without[number]
        assert all(torch.equal(item[key], plain[key]) for key in plain)
        mask = item["masks"].numpy()
        assert mask.shape == (1, 28, 28, 28)
        true = trimesh.Trimesh(np.zeros_like(vertices), ball.faces, process=False)
        true.vertices[item["indices"].numpy()] = item["vertices"].numpy()
        spacing = 13 / 27
        assert mask.sum() * spacing**3 == pytest.approx(true.volume, rel=0.02)
        centre = np.array([(mask[0] * index).sum() for index in np.indices(mask.shape[1:])]) / mask.sum()
        np.testing.assert_allclose(centre * spacing + 1, true.center_mass, atol=0.05)
