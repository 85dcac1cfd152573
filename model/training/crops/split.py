"""Which cases a run learns from, and which it is judged by; drawn once and kept."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import InputError

SPLIT_FILE = "split.json"


@dataclass(frozen=True)
class Split:
    """Names of the training and of the validation cases, each in alphabetical order."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def split_cases(names: Sequence[str], share: float, seed: int) -> Split:
    """Draw the validation cases.

    Args:
        names: names of all cases, in any order: the split does not depend on it.
        share: share of the cases for validation; rounded up, but at least one case goes to either part.
        seed: of the draw.

    Raises:
        InputError: fewer than two cases, or a name twice.
    """
    ordered = sorted(names)
    if len(ordered) < 2 or len(set(ordered)) != len(ordered):
        raise InputError("the cases cannot be split", expected="two or more different cases", found=f"{len(ordered)}")
    count = min(max(math.ceil(share * len(ordered) - 1e-9), 1), len(ordered) - 1)
    drawn = set(np.random.default_rng(seed).permutation(len(ordered))[:count].tolist())
    train = tuple(name for place, name in enumerate(ordered) if place not in drawn)
    return Split(train, tuple(ordered[place] for place in sorted(drawn)))


def keep_split(folder: Path, split: Split) -> Split:
    """Write a split into an experiment folder, or give the one that is kept there already.

    Raises:
        InputError: the kept split cannot be read or is of other cases.
    """
    path = folder / SPLIT_FILE
    if not path.exists():
        document = {"train": list(split.train), "validation": list(split.validation)}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return split
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        kept = Split(tuple(map(str, document["train"])), tuple(map(str, document["validation"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{SPLIT_FILE} of the experiment cannot be read") from error
    if sorted((*kept.train, *kept.validation)) != sorted((*split.train, *split.validation)) or not all(
        (kept.train, kept.validation)
    ):
        raise InputError(
            f"{SPLIT_FILE} of the experiment is of other cases",
            expected=", ".join(sorted((*split.train, *split.validation))),
            found=", ".join(sorted((*kept.train, *kept.validation))),
        )
    return kept
