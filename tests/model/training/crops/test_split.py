"""The split is decided by seed and names, and kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InputError
from model.training.crops.split import SPLIT_FILE, Split, keep_split, split_cases

names = st.lists(st.text("abc123", min_size=1), min_size=2, max_size=40, unique=True)
shares = st.floats(0.01, 0.99)


@given(names, shares, st.integers(0, 100))
def test_every_case_goes_to_one_part_whatever_the_order(cases: list[str], share: float, seed: int) -> None:
    split = split_cases(cases, share, seed)
    assert sorted((*split.train, *split.validation)) == sorted(cases)
    assert split.train
    assert split.validation
    shuffled = [cases[place] for place in np.random.default_rng(1).permutation(len(cases))]
    assert split_cases(shuffled, share, seed) == split
    wanted = math.ceil(share * len(cases))
    assert abs(len(split.validation) - min(wanted, len(cases) - 1)) <= 1


@pytest.mark.parametrize(("cases", "validation"), [(2, 1), (5, 1), (6, 2), (10, 2), (15, 3), (100, 20)])
def test_a_fifth_is_kept_for_validation(cases: int, validation: int) -> None:
    assert len(split_cases([f"{number}" for number in range(cases)], 0.2, 0).validation) == validation


def test_the_seed_decides() -> None:
    cases = [f"ear{number}" for number in range(10)]
    assert len({split_cases(cases, 0.2, seed).validation for seed in range(20)}) > 5


@pytest.mark.parametrize("cases", [[], ["a"], ["a", "a"]])
def test_too_few_cases_are_refused(cases: list[str]) -> None:
    with pytest.raises(InputError):
        split_cases(cases, 0.2, 0)


def test_a_kept_split_stays(tmp_path: Path) -> None:
    first, other = Split(("a", "b"), ("c",)), Split(("a", "c"), ("b",))
    assert keep_split(tmp_path, first) == first
    assert keep_split(tmp_path, other) == first
    with pytest.raises(InputError, match="other cases"):
        keep_split(tmp_path, Split(("a",), ("d",)))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"train": ["a"]}', json.dumps({"train": ["a", "b", "c"], "validation": []})]
)
def test_a_damaged_split_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / SPLIT_FILE).write_text(text)
    with pytest.raises(InputError, match=SPLIT_FILE):
        keep_split(tmp_path, Split(("a", "b"), ("c",)))
