"""Which pieces of a label map stay, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.errors import ReleaseError
from model.release.nnunet.components import LargestPiece, read_postprocessing


def row(text: str) -> npt.NDArray[np.uint8]:
    """Give a label map of one row of voxels."""
    return np.array([int(letter) for letter in text], dtype=np.uint8).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        (LargestPiece(((1,),)), "1110110222020", "1110000222020"),
        (LargestPiece(((1,), (2,))), "1110110222020", "1110000222000"),
        (LargestPiece(None), "1110110222020", "1110000222000"),
        # Labels taken together: 1 and 2 touch.
        (LargestPiece(((1, 2),)), "1110112222020", "0000112222000"),
        (LargestPiece(((1, 2), (1,))), "1112211000110", "1112200000000"),
        # Of equal pieces all stay, and small ones of a sufficient size.
        (LargestPiece(((1,),)), "1101101000000", "1101100000000"),
        (LargestPiece(((1,),), {(1,): 1.0}), "1110110100000", "1110110000000"),
        (LargestPiece(((1,),), {(1,): 0.5}), "1110110100000", "1110110100000"),
        (LargestPiece(()), "1110110100000", "1110110100000"),
        (LargestPiece(((3,),)), "1110110222020", "1110110222020"),
    ],
)
def test_pieces_that_stay(rule: LargestPiece, before: str, after: str) -> None:
    labels = row(before)
    found = rule.apply(labels, 0.5)
    np.testing.assert_array_equal(found, row(after))
    np.testing.assert_array_equal(labels, row(before))


def test_pieces_touch_by_faces_only() -> None:
    labels = np.zeros((3, 3, 3), dtype=np.uint8)
    labels[0, 0, :2] = labels[1, 1, 1] = 1
    found = LargestPiece(((1,),)).apply(labels, 1.0)
    assert found[1, 1, 1] == 0
    assert found.sum() == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"for_which_classes": [1]}, LargestPiece(((1,),))),
        ({"for_which_classes": None}, LargestPiece(None)),
        ({"for_which_classes": [[1, 2], 2], "min_valid_object_sizes": "None"}, LargestPiece(((1, 2), (2,)))),
        (
            {"for_which_classes": [[1, 2], 2], "min_valid_object_sizes": "{(1, 2): 8.5, 2: 3}"},
            LargestPiece(((1, 2), (2,)), {(1, 2): 8.5, (2,): 3.0}),
        ),
    ],
)
def test_file_is_read(tmp_path: Path, content: dict[str, Any], expected: LargestPiece) -> None:
    path = tmp_path / "postprocessing.json"
    path.write_text(json.dumps(content))
    assert read_postprocessing(path) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"for_which_classes": [0]}',
        '{"for_which_classes": [[]]}',
        '{"for_which_classes": [1.5]}',
        '{"for_which_classes": 1}',
        '{"for_which_classes": [1], "min_valid_object_sizes": "{2: 3}"}',
        '{"for_which_classes": [1], "min_valid_object_sizes": "__import__(\'os\')"}',
        '{"for_which_classes": [1], "min_valid_object_sizes": "{1: \'x\'}"}',
    ],
)
def test_other_content_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "postprocessing.json"
    path.write_text(text)
    with pytest.raises(ReleaseError, match="for_which_classes"):
        read_postprocessing(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"postprocessing\.json"):
        read_postprocessing(tmp_path / "postprocessing.json")
