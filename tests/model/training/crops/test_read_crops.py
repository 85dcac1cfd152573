"""Folders of crops are read whatever kind of vertices they have, and refused with all that is wrong named."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from crop_fixtures import AFFINE_RAS, GRID, SIX, Shape, save, sphere_atlas, write_folders
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from volume_fixtures import orientations

from model.errors import InputError
from model.structures import LABYRINTH, MODIOLUS, STRUCTURE_IDS
from model.training.crops.case import WHOLE, load_image
from model.training.crops.read import read_crops

TWO = {name: SIX[name] for name in ("ear0", "ear1")}
KINDS = ("npz", "structures", "pkl", "labels", "masks")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_vertices_lies_where_the_structures_are(tmp_path: Path, kind: str) -> None:
    cases = read_crops(*write_folders(tmp_path, TWO, kind), sphere_atlas())
    assert [case.name for case in cases] == list(TWO)
    for case in cases:
        truth = TWO[case.name].vertices()
        assert case.structures == STRUCTURE_IDS
        assert case.corresponding is (kind in KINDS[:3])
        assert set(case.masks) == (set(STRUCTURE_IDS) if kind in ("labels", "masks") else set())
        np.testing.assert_allclose(load_image(case, sphere_atlas().frame), TWO[case.name].image(), atol=1e-6)
        for name, points in case.points.items():
            if case.corresponding:
                np.testing.assert_allclose(points, truth[name], atol=1e-4)
            # A mask is made of whole voxels, and spheres of two voxels suffer most.
            assert cKDTree(points).query(truth[name])[0].mean() < 0.6, name


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 47), st.sampled_from(["npz", "labels"]))
def test_the_axes_of_the_file_do_not_matter(tmp_path_factory: Any, number: int, kind: str) -> None:  # noqa: ANN401
    folder = tmp_path_factory.mktemp("turned")
    images, vertices = write_folders(folder, TWO, kind)
    stored, affine = list(orientations(TWO["ear0"].image(), AFFINE_RAS))[number]
    save(images / "ear0.nii.gz", stored, affine)
    if kind == "npz":
        to_file = np.linalg.inv(affine) @ AFFINE_RAS
        together = np.concatenate(list(TWO["ear0"].vertices().values()))
        np.savez(vertices / "ear0.npz", vertices=together @ to_file[:3, :3].T + to_file[:3, 3])
    else:
        labels: Any = nibabel.load(vertices / "ear0.nii.gz")
        save(vertices / "ear0.nii.gz", *list(orientations(np.asarray(labels.dataobj), AFFINE_RAS))[number])
    case, *_ = read_crops(images, vertices, sphere_atlas())
    np.testing.assert_allclose(load_image(case, sphere_atlas().frame), TWO["ear0"].image(), atol=1e-6)
    for name, truth in TWO["ear0"].vertices().items():
        np.testing.assert_allclose(case.points[name].mean(0), truth.mean(0), atol=1e-3 if kind == "npz" else 0.3)


def test_points_of_unknown_structure_are_taken_together(tmp_path: Path) -> None:
    images, vertices = write_folders(tmp_path, TWO)
    together = np.concatenate(list(TWO["ear0"].vertices().values()))
    shuffled = np.random.default_rng(0).permutation(together)  # as many as the atlas has, in another order
    np.savez(vertices / "ear0.npz", vertices=shuffled)
    (vertices / "ear1.npz").unlink()
    (vertices / "ear1.pkl").write_bytes(pickle.dumps(together[::2]))
    for case in read_crops(images, vertices, sphere_atlas()):
        assert case.structures == (WHOLE,)
        assert not case.corresponding


def test_structures_may_be_missing(tmp_path: Path) -> None:
    images, vertices = write_folders(tmp_path, TWO, "masks")
    (vertices / f"ear0_{MODIOLUS.id}.nii.gz").unlink()
    first, second = read_crops(images, vertices, sphere_atlas())
    assert first.structures == STRUCTURE_IDS[1:]
    assert second.structures == STRUCTURE_IDS


def test_the_labyrinth_of_a_label_map_holds_its_scalae(tmp_path: Path) -> None:
    whole = Shape().masks()[LABYRINTH.id]
    case, *_ = read_crops(*write_folders(tmp_path, {"a": Shape(), "b": Shape()}, "labels"), sphere_atlas())
    inside = case.masks[LABYRINTH.id].inside(np.arange(5, dtype=np.float32))
    assert inside.tolist() == [False, False, True, True, True]
    radius = np.linalg.norm(case.points[LABYRINTH.id] - np.argwhere(whole).mean(0), axis=1)
    assert radius.min() > 6


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        """Keep the folder's path."""
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the call."""
        return os.mkdir, (str(self.mark),)


def together(shape: Shape | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.concatenate(list((shape or Shape()).vertices().values()))


def spoilt(value: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    points = together()
    points[5, 1] = value
    return points


def with_value(value: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    image = Shape().image().copy()
    image[3, 4, 5] = value
    return image


BAD: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "no vertices": (lambda i, v: (v / "ear0.npz").unlink(), "no vertices for the image"),
    "no image": (lambda i, v: (i / "ear0.nii.gz").unlink(), "vertices without an image"),
    "two kinds": (lambda i, v: (v / "ear0.pkl").write_bytes(pickle.dumps(together())), "two files of vertices"),
    "two images": (lambda i, v: save(i / "ear0.nii", Shape().image()), "two images"),
    "smaller image": (lambda i, v: save(i / "ear0.nii.gz", Shape().image()[:-8]), "24 x 32 x 32 voxels"),
    "other spacing": (lambda i, v: save(i / "ear0.nii.gz", Shape().image(), AFFINE_RAS / 2), "0.4 x 0.4 x 0.4 mm"),
    "hounsfield": (lambda i, v: save(i / "ear0.nii.gz", Shape().image() * 1000), "values from"),
    "image with nan": (lambda i, v: save(i / "ear0.nii.gz", with_value(np.nan)), "not finite"),
    "constant image": (lambda i, v: save(i / "ear0.nii.gz", np.zeros((GRID,) * 3)), "constant"),
    "no nifti": (lambda i, v: (i / "ear0.nii.gz").write_bytes(b"nothing"), "not a NIfTI"),
    "nan": (lambda i, v: np.savez(v / "ear0.npz", vertices=spoilt(np.nan)), "not finite"),
    "infinity": (lambda i, v: np.savez(v / "ear0.npz", vertices=spoilt(np.inf)), "not finite"),
    "outside": (lambda i, v: np.savez(v / "ear0.npz", vertices=spoilt(40.0)), "outside the crop (1 of"),
    "millimetres": (lambda i, v: np.savez(v / "ear0.npz", vertices=together() * 0.2), "times the size of the atlas"),
    "flat": (lambda i, v: np.savez(v / "ear0.npz", vertices=together()[:, :2]), "shape (648, 2)"),
    "texts": (lambda i, v: np.savez(v / "ear0.npz", vertices=np.full((5, 3), "a")), "of type str"),
    "unknown array": (lambda i, v: np.savez(v / "ear0.npz", vertices=together(), nose=together()), "nose"),
    "no array": (lambda i, v: np.savez(v / "ear0.npz"), "none"),
    "objects": (lambda i, v: np.savez(v / "ear0.npz", vertices=np.array([{}])), "plain arrays"),
    "cut": (lambda i, v: (v / "ear0.npz").write_bytes((v / "ear0.npz").read_bytes()[:900]), "cannot be read"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_what_is_wrong_is_named_with_its_case(tmp_path: Path, kind: str) -> None:
    images, vertices = write_folders(tmp_path, TWO)
    spoil, said = BAD[kind]
    spoil(images, vertices)
    with pytest.raises(InputError) as caught:
        read_crops(images, vertices, sphere_atlas())
    assert "ear0: " in str(caught.value.found)
    assert said in str(caught.value.found)
    assert "ear1" not in str(caught.value.found)
    assert str(tmp_path) not in str(caught.value)


MASKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda v: save(v / "ear0_labyrinth.nii.gz", np.zeros((GRID,) * 3, np.uint8)), "constant"),
    "other grid": (
        lambda v: save(v / "ear0_labyrinth.nii.gz", np.eye(GRID)[..., None].repeat(9, 2)),
        "not on the grid",
    ),
    "moved": (
        lambda v: save(v / "ear0_labyrinth.nii.gz", Shape().masks()[LABYRINTH.id] * 1.0, AFFINE_RAS + np.eye(4, k=3)),
        "not on the grid",
    ),
    "unknown structure": (lambda v: save(v / "ear0_nose.nii.gz", Shape().image()), "unknown structure"),
    "two": (lambda v: save(v / "ear0_CC.nii.gz", Shape().masks()[LABYRINTH.id] * 1.0), "two masks of labyrinth"),
    "two kinds": (lambda v: save(v / "ear0.nii.gz", Shape().image()), "two kinds of vertices"),
}


@pytest.mark.parametrize("kind", sorted(MASKS))
def test_masks_that_cannot_be_used_are_named(tmp_path: Path, kind: str) -> None:
    images, vertices = write_folders(tmp_path, TWO, "masks")
    spoil, said = MASKS[kind]
    spoil(vertices)
    with pytest.raises(InputError) as caught:
        read_crops(images, vertices, sphere_atlas())
    assert said in str(caught.value.found)


@pytest.mark.parametrize("labels", [{1: 1}, {1: 5, 4: 4}, {4: -1}, {4: 0.5, 1: 2}])
def test_label_maps_of_other_values_are_refused(tmp_path: Path, labels: dict[int, float]) -> None:
    images, vertices = write_folders(tmp_path, TWO, "labels")
    stored = Shape().masks()
    values = sum(stored[STRUCTURE_IDS[key - 1]] * value for key, value in labels.items())
    save(vertices / "ear0.nii.gz", np.asarray(values, np.float32))
    with pytest.raises(InputError, match=r"ear0: (the label map has other values|a file with the value 1 alone)"):
        read_crops(images, vertices, sphere_atlas())


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    images, vertices = write_folders(tmp_path, TWO, "pkl")
    mark = tmp_path / "mark"
    hostile = pickle.dumps([together(), Hostile(mark)])
    (vertices / "ear0.pkl").write_bytes(hostile)
    with pytest.raises(InputError, match="ear0"):
        read_crops(images, vertices, sphere_atlas())
    assert not mark.exists()
    pickle.loads(hostile)  # noqa: S301 (elsewhere it does run, so the test would notice)
    assert mark.exists()


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    images, vertices = write_folders(tmp_path)
    (vertices / "ear0.npz").unlink()
    (vertices / "ear3.npz").unlink()
    (images / "ear1.nii.gz").unlink()
    np.savez(vertices / "ear2.npz", vertices=spoilt(np.nan))
    save(images / "ear4.nii.gz", Shape().image()[:-8])
    with pytest.raises(InputError) as caught:
        read_crops(images, vertices, sphere_atlas())
    found = str(caught.value.found)
    assert "ear0, ear3: no vertices for the image" in found
    assert all(name in found for name in ("ear1: ", "ear2: ", "ear4: "))
    assert "ear5" not in found


def test_empty_folders_and_one_case_are_refused(tmp_path: Path) -> None:
    images, vertices = write_folders(tmp_path, {"ear0": Shape()})
    with pytest.raises(InputError, match="the only case"):
        read_crops(images, vertices, sphere_atlas())
    with pytest.raises(InputError, match="not there"):
        read_crops(tmp_path / "none", vertices, sphere_atlas())
    with pytest.raises(InputError, match="not there"):
        read_crops(images, tmp_path / "none", sphere_atlas())
    (images / "ear0.nii.gz").unlink()
    with pytest.raises(InputError, match="empty"):
        read_crops(images, vertices, sphere_atlas())


def test_images_and_points_may_share_a_folder(tmp_path: Path) -> None:
    images, vertices = write_folders(tmp_path, TWO)
    for path in vertices.iterdir():
        path.rename(images / path.name)
    (images / ".hidden.npz").write_bytes(b"")
    (images / "notes.txt").write_text("kept")
    assert len(read_crops(images, images, sphere_atlas())) == 2
