"""An implant in a real scan: on its own grid, in its own slices, on either side, and nothing changed elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from model.errors import ImageError, OptionError
from model.geometry.alignment import Alignment
from model.geometry.spaces import apply_affine
from model.meshes.mesh import SurfaceMesh
from model.synthesis.designs import MAKERS
from model.synthesis.insert import InsertedImplant, insert_implant
from model.synthesis.scan import frame_of_normal, scan_of_image, slice_axis
from model.synthesis.template import TissueTemplate
from model.volumes.volume import Volume

SHAPE = (62, 60, 50)
SPACING_MM = (0.31, 0.31, 0.4)


def scan(side: str = "left") -> tuple[Volume, Alignment]:
    """A small scan of bone with a margin that was not measured, askew in the patient, and where the ear lies in it."""
    values = np.random.default_rng(0).normal(1500.0, 60.0, SHAPE).astype(np.float32)
    values[:4] = -1024.0
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.2, -0.3, 0.5]).as_matrix() @ np.diag(SPACING_MM)
    affine[:3, 3] = [30.0, -20.0, 10.0]
    # The canonical axes lie askew in the array as well.
    to_canonical = np.eye(4)
    turn = Rotation.from_rotvec([0.1, 0.2, -0.15]).as_matrix()
    to_canonical[:3, :3] = turn @ np.diag(SPACING_MM) / 0.2
    middle = (np.array(SHAPE) - 1) / 2
    to_canonical[:3, 3] = np.array([56.0, 54.0, 56.0]) - to_canonical[:3, :3] @ middle
    left = Volume(values, affine, nibabel.Nifti1Header())
    if side == "left":
        return left, Alignment(to_canonical @ np.linalg.inv(affine), "left", "landmarks")
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    right = replace(left, affine=mirror @ affine)
    return right, Alignment(to_canonical @ np.linalg.inv(right.affine), "right", "landmarks")


@pytest.fixture(scope="module")
def inserted(toy_atlas: dict[str, SurfaceMesh]) -> InsertedImplant:
    volume, alignment = scan()
    return insert_implant(volume, toy_atlas, alignment, 4, maker="Advanced Bionics")


def test_only_the_artifact_changes(inserted: InsertedImplant) -> None:
    volume, _ = scan()
    assert inserted.image_hu.dtype == np.int16
    assert inserted.image_hu.shape == SHAPE
    assert inserted.image_hu.max() == 3071
    np.testing.assert_array_equal(inserted.image_hu[:4], -1024)
    same = ~inserted.changed
    np.testing.assert_array_equal(inserted.image_hu[same], np.round(volume.data)[same])
    # The scan is anisotropic, so its slices follow each other along k; those far from metal are untouched.
    assert inserted.scan.axis == 2
    metal = np.flatnonzero(inserted.metal.any(axis=(0, 1)))
    far = np.abs(np.arange(SHAPE[2])[:, None] - metal).min(axis=1) > 4
    assert far.any()
    assert not inserted.changed[:, :, far].any()
    assert inserted.changed[:, :, metal].mean() > 0.1


def test_contacts_are_bright_and_in_the_scala(inserted: InsertedImplant, toy_template: TissueTemplate) -> None:
    volume, alignment = scan()
    within = inserted.contacts_ras[inserted.array.inside]
    voxels = np.round(apply_affine(np.linalg.inv(volume.affine), within)).astype(int)
    assert inserted.metal[tuple(voxels.T)].all()
    assert inserted.image_hu[tuple(voxels.T)].mean() > 2900
    canonical = apply_affine(alignment.ras_to_canonical, within)
    assert map_coordinates(toy_template.fields[2], canonical.T, order=1).max() < 0.0
    facts = json.loads(json.dumps(inserted.to_json()))
    assert (facts["maker"], facts["contacts"], len(facts["contacts_ras"])) == ("Advanced Bionics", 16, 16)
    assert facts["contacts_inserted"] == len(within)


def test_the_order_of_the_axes_does_not_matter(inserted: InsertedImplant, toy_atlas: dict[str, SurfaceMesh]) -> None:
    """An image stored as (k, flipped i, j) means the same scan; taking a wrong axis for the slices' does not."""
    volume, alignment = scan()
    order = np.zeros((4, 4))
    order[0, 1], order[1, 2], order[2, 0], order[3, 3] = -1.0, 1.0, 1.0, 1.0
    order[0, 3] = SHAPE[0] - 1
    stored = np.ascontiguousarray(np.transpose(volume.data[::-1], (2, 0, 1)))
    other = replace(volume, data=stored, affine=volume.affine @ order)
    again = insert_implant(other, toy_atlas, alignment, 4, maker="Advanced Bionics")
    assert again.scan.axis == 0
    back = np.transpose(again.image_hu, (1, 2, 0))[::-1]
    np.testing.assert_allclose(back, inserted.image_hu, atol=2)
    wrong = insert_implant(other, toy_atlas, alignment, 4, maker="Advanced Bionics", slice_axis=1)
    assert np.abs(np.transpose(wrong.image_hu, (1, 2, 0))[::-1] - inserted.image_hu.astype(int)).max() > 300


def test_a_right_ear_is_the_mirror_image(inserted: InsertedImplant, toy_atlas: dict[str, SurfaceMesh]) -> None:
    volume, alignment = scan("right")
    mirrored = insert_implant(volume, toy_atlas, alignment, 4, maker="Advanced Bionics")
    np.testing.assert_allclose(mirrored.image_hu, inserted.image_hu, atol=2)
    np.testing.assert_allclose(mirrored.contacts_ras * [-1, 1, 1], inserted.contacts_ras, atol=1e-6)


@pytest.mark.parametrize("maker", MAKERS)
def test_makers_can_be_chosen(maker: str, toy_atlas: dict[str, SurfaceMesh]) -> None:
    volume, alignment = scan()
    chosen = insert_implant(volume, toy_atlas, alignment, 1, maker=next(name for name in MAKERS if name == maker))
    assert chosen.array.design.maker == maker
    assert (chosen.image_hu >= 3000).sum() > 20


def test_the_slice_axis_is_told_by_spacing_then_by_the_patient() -> None:
    for axis in range(3):
        spacing = np.full(3, 0.3)
        spacing[axis] = 0.5
        assert slice_axis(np.diag([*spacing, 1.0])) == axis
    tilted = np.eye(4)
    tilted[:3, :3] = Rotation.from_rotvec([0.3, 0.0, 0.0]).as_matrix()[:, [2, 0, 1]]
    assert slice_axis(tilted) == 0
    for normal in ((0.1, -0.2, 0.9), (-0.9, 0.1, 0.3)):
        frame = frame_of_normal(normal)
        np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame.rotation) > 0
        np.testing.assert_allclose(frame.rotation, frame_of_normal(np.negative(normal)).rotation, atol=1e-12)


def test_pixels_lie_where_the_affine_puts_them() -> None:
    """Values that are the scan coordinates themselves come back as such in the array."""
    volume, alignment = scan()
    for axis in range(3):
        image = scan_of_image(volume.affine, alignment.ras_to_canonical, SHAPE, axis)
        slices = image.slices()
        value = slices.uv_mm[:, :1] + 100 * slices.uv_mm[:, 1:] + 1e4 * slices.heights_mm
        uvw = apply_affine(image.from_image, np.indices(SHAPE).reshape(3, -1).T)
        expected = (uvw @ [1.0, 100.0, 1e4]).reshape(SHAPE)
        np.testing.assert_allclose(image.to_array(value.astype(np.float32)), expected, rtol=1e-4, atol=0.1)


def test_images_that_cannot_be_used_are_refused(toy_atlas: dict[str, SurfaceMesh]) -> None:
    volume, alignment = scan()
    with pytest.raises(ImageError, match="raw CT"):
        insert_implant(replace(volume, data=volume.data / np.float32(4000)), toy_atlas, alignment, 0)
    with pytest.raises(OptionError, match="array axis"):
        insert_implant(volume, toy_atlas, alignment, 0, slice_axis=3)
    sheared = volume.affine.copy()
    sheared[:3, 1] += 0.1 * sheared[:3, 0]
    with pytest.raises(ImageError, match="right angles"):
        insert_implant(replace(volume, affine=sheared), toy_atlas, alignment, 0)
    moved = volume.affine.copy()
    moved[:3, 3] += 15.0
    with pytest.raises(ImageError, match="cochlea"):
        insert_implant(replace(volume, affine=moved), toy_atlas, alignment, 0)
