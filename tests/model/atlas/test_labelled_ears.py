"""Labelled ears: surfaces of labels, and their place in the canonical frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree
from segmentations import open_nifti, save_nifti
from support import shared_path

from model.atlas.labelled_ears import LabelledEar, label_surface, read_labelled_ear, read_labelled_ears, read_split
from model.bundle import Bundle
from model.errors import ImageError, InputError, LandmarksError
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Side
from model.geometry.spaces import apply_affine
from model.masks.voxelize import voxelize
from model.meshes.formats import read_mesh
from model.meshes.topology import count_open_edges, genus

RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(folder: Path, frame: CanonicalFrame) -> LabelledEar:
    return read_labelled_ear(folder, frame, fill_hu=-1024.0)


def test_the_surface_of_a_label_keeps_volume_and_place() -> None:
    i, j, k = np.indices((50, 46, 34))
    distance = np.hypot(np.hypot(i - 23.3, j - 21.2) - 12.0, (k - 16.1) * 0.8)
    mask = distance < 6.0
    mask[2:5, 2:5, 2:5] = True  # a second, smaller piece
    surface = label_surface(mask)
    assert surface.space == "ijk"
    assert (genus(surface), count_open_edges(surface.triangles)) == (1, 0)
    ring = np.count_nonzero(distance < 6.0)
    assert abs(surface.signed_volume / ring - 1) < 0.015
    np.testing.assert_allclose(surface.vertices.mean(axis=0), [23.3, 21.2, 16.1], atol=0.1)
    overlap = voxelize(surface, mask.shape) & (distance < 6.0)
    assert 2 * np.count_nonzero(overlap) / (np.count_nonzero(voxelize(surface, mask.shape)) + ring) > 0.94


def test_a_label_at_the_border_is_closed() -> None:
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[:6, 3:9, 6:] = True
    surface = label_surface(mask)
    assert count_open_edges(surface.triangles) == 0
    assert abs(surface.signed_volume / 216 - 1) < 0.05


def test_an_empty_label_is_refused() -> None:
    with pytest.raises(ImageError, match="empty"):
        label_surface(np.zeros((8, 8, 8), dtype=bool))


@pytest.mark.parametrize("side", ["left", "right"])
def test_surface_and_crop_of_an_ear_lie_together(
    shipped_bundle: Bundle, synthetic_ears: dict[Side, Path], side: Side
) -> None:
    ear = read(synthetic_ears[side], shipped_bundle.frame)
    assert ear.alignment.side == side
    assert ear.image_hu.shape == shipped_bundle.frame.grid
    assert ear.surface_ijk.signed_volume > 0
    truth = read_mesh(synthetic_ears[side] / "truth" / "labyrinth.vtk")
    true_ijk = truth.transformed(ear.alignment.ras_to_canonical @ RAS_LPS, "ijk")
    distance, _ = cKDTree(ear.surface_ijk.vertices).query(true_ijk.vertices)
    assert distance.mean() < 0.6
    label_volume = np.count_nonzero(ear.label) * float(np.prod(ear.volume.spacing_mm))
    volume = ear.surface_ijk.signed_volume * shipped_bundle.frame.spacing_mm**3
    assert abs(volume / label_volume - 1) < 0.01
    # The cochlea of every ear lies where the atlas's lies: a right ear has been mirrored.
    atlas = shipped_bundle.atlas_meshes_ijk["labyrinth"]
    assert np.abs(ear.surface_ijk.vertices.mean(axis=0) - atlas.vertices.mean(axis=0)).max() < 6
    inside = voxelize(ear.surface_ijk, ear.image_hu.shape)
    around = binary_dilation(inside, iterations=4) & ~binary_dilation(inside)
    assert np.median(ear.image_hu[inside]) + 300 < np.median(ear.image_hu[around])


def test_what_cannot_be_used_is_named(shipped_bundle: Bundle, synthetic_ears: dict[Side, Path], tmp_path: Path) -> None:
    frame = shipped_bundle.frame
    source, ear = synthetic_ears["left"], tmp_path / "ear"
    ear.mkdir()
    with pytest.raises(InputError, match=r"landmarks\.json"):
        read(ear, frame)
    (ear / "landmarks.json").write_text("{")
    with pytest.raises(LandmarksError):
        read(ear, frame)
    (ear / "landmarks.json").write_bytes((source / "landmarks.json").read_bytes())
    with pytest.raises(ImageError):
        read(ear, frame)
    (ear / "ct.nii.gz").write_bytes((source / "ct.nii.gz").read_bytes())
    with pytest.raises(ImageError):
        read(ear, frame)
    label = open_nifti(source / "labyrinth.nii.gz")
    shifted = np.array(label.affine)
    shifted[0, 3] += 1.0
    save_nifti(ear / "labyrinth.nii.gz", np.asarray(label.dataobj), shifted)
    with pytest.raises(ImageError, match="grid"):
        read(ear, frame)


def test_the_split_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split"):
        read_split(tmp_path)
    (tmp_path / "split.json").write_text('{"train": ["a"]}')
    with pytest.raises(InputError, match="split"):
        read_split(tmp_path)
    (tmp_path / "split.json").write_text('{"train": ["a", "b"], "validation": ["c"], "note": "x"}')
    assert read_split(tmp_path) == {"train": ["a", "b"], "validation": ["c"]}
    frame = CanonicalFrame((8, 8, 8), 0.2, "LPS", "left", {})
    with pytest.raises(InputError, match="ear a "):
        read_labelled_ears(tmp_path, ["a"], frame, fill_hu=-1024.0)


def test_a_real_ear_is_read_into_the_frame() -> None:
    ears = shared_path("ears")
    folder = shared_path("ears/T01")
    frame = CanonicalFrame.from_json(json.loads((ears / "frame.json").read_text()))
    ear = read(folder, frame)
    assert (ear.name, ear.image_hu.shape) == ("T01", (128, 128, 128))
    volume = ear.surface_ijk.signed_volume * frame.spacing_mm**3
    label = np.count_nonzero(ear.label) * float(np.prod(ear.volume.spacing_mm))
    assert abs(volume / label - 1) < 0.01
    back = apply_affine(np.linalg.inv(ear.volume.affine) @ ear.alignment.canonical_to_ras, ear.surface_ijk.vertices)
    nearest = np.round(back).astype(int)
    here = ear.label[tuple(nearest.T)]
    assert 0.2 < here.mean() < 0.8  # vertices straddle the label's border on the ear's own grid
