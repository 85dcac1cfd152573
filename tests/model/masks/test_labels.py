"""Merging masks into one label map."""

from __future__ import annotations

import numpy as np
import pytest

from model.masks.labels import label_map


def test_inner_structures_win() -> None:
    labyrinth = np.array([1, 1, 1, 1, 0], dtype=bool).reshape(5, 1, 1)
    vestibuli = np.array([0, 1, 1, 1, 0], dtype=bool).reshape(5, 1, 1)
    tympani = np.array([0, 0, 1, 1, 0], dtype=bool).reshape(5, 1, 1)
    modiolus = np.array([0, 0, 0, 1, 1], dtype=bool).reshape(5, 1, 1)
    masks = {"modiolus": modiolus, "labyrinth": labyrinth, "scala_tympani": tympani, "scala_vestibuli": vestibuli}
    labels = label_map(masks)
    assert labels.dtype == np.uint8
    assert labels.ravel().tolist() == [4, 3, 2, 1, 1]
    assert label_map({"labyrinth": labyrinth}).ravel().tolist() == [4, 4, 4, 4, 0]


def test_nothing_to_merge_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one mask"):
        label_map({})
