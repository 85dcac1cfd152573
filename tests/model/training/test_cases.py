"""Training cases as files, and the stream that changes them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import InputError
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet, TrainingCase, merge
from model.training.data import ChangedCases

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


def test_sets_are_merged_only_when_they_share_the_atlas() -> None:
    one, two = make_set(0, 2), make_set(1, 3)
    assert len(merge([one, two]).cases) == 5
    with pytest.raises(InputError, match="no training cases"):
        merge([])
    other = CaseSet(two.cases, two.atlas_vertices_ijk + 1, COUNTS)
    with pytest.raises(InputError, match="share"):
        merge([one, other])


def stream(seed: int, shares: tuple[float, ...] = (0.5, 0.5)) -> ChangedCases:
    return ChangedCases(
        [make_set(0), make_set(1, size=GRID // 2)],
        shares,
        grid=GRID,
        region=(1, 14),
        samples=12,
        points=5,
        seed=seed,
        options=AugmentOptions(),
    )


def test_the_stream_is_decided_by_its_seed() -> None:
    one, same, other = (list(islice(stream(seed), 6)) for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in ("view", "vertices", "indices"))
    assert not any(torch.equal(a["view"], b["view"]) for a, b in zip(one, other, strict=True))


def test_items_hold_as_many_points_of_every_structure() -> None:
    for item in islice(stream(0), 5):
        assert item["view"].shape == (1, 12, 12, 12)
        assert item["vertices"].shape == (10, 3)
        indices = item["indices"].numpy()
        assert indices[:5].max() < 7 <= indices[5:].min()
        assert indices.max() < 18


def test_shares_decide_how_often_a_set_is_drawn() -> None:
    """The second set's images are of another size; it is recognised by its contents being all that is drawn."""
    only_first = {tuple(item["indices"].tolist()) for item in islice(stream(3, (1.0, 0.0)), 4)}
    assert len(only_first) == 4
    drawn = ChangedCases(
        [make_set(0, 1), CaseSet((), make_set(0).atlas_vertices_ijk, COUNTS)],
        (1.0, 0.0),
        grid=GRID,
        region=(1, 14),
        samples=12,
        points=5,
        seed=0,
        options=AugmentOptions(),
    )
    assert len(list(islice(drawn, 10))) == 10  # the empty set is never drawn


def test_vertices_belong_to_the_indices() -> None:
    """Without any change of shape the vertices are those of the case."""
    still = AugmentOptions(rotation_deg=0, translation_mm=0, scale=0, displacements_mm=(0, 0, 0))
    cases = make_set(0, 1)
    items = ChangedCases([cases], (1.0,), grid=GRID, region=(1, 14), samples=12, points=5, seed=0, options=still)
    for item in islice(items, 3):
        expected = cases.cases[0].vertices_ijk[item["indices"].numpy()]
        np.testing.assert_allclose(item["vertices"].numpy(), expected, atol=1e-4)


def test_worker_processes_draw_different_streams() -> None:
    loader = torch.utils.data.DataLoader(stream(5), batch_size=1, num_workers=2)
    first, second = islice(loader, 2)
    assert not torch.equal(first["view"], second["view"])
