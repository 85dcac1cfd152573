"""Masks to surfaces and surfaces to masks, single files and whole folders."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from cli_runs import Cochlear
from segmentations import oblique_volume, open_nifti, save_nifti
from surfaces import sphere

from model.masks.voxelize import voxelize_structures
from model.meshes.formats import read_mesh, write_mesh
from model.meshes.mesh import SurfaceMesh
from model.meshes.published import encode_published

VOLUME = oblique_volume()


def ball(radius: float, shift: float = 0.0) -> SurfaceMesh:
    """A ball in the middle of the volume, RAS mm."""
    centre = VOLUME.affine[:3, :3] @ (np.array(VOLUME.shape) / 2) + VOLUME.affine[:3, 3]
    return sphere(radius, centre + np.array([shift, 0.0, 0.0]), space="ras")


def save(path: Path, data: npt.NDArray[np.generic], affine: npt.NDArray[np.float64] = VOLUME.affine) -> Path:
    """Write an image, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_nifti(path, data, affine)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save(tmp_path / "ct.nii.gz", VOLUME.data)


def test_a_folder_of_surfaces_goes_to_masks_and_back(cochlear: Cochlear, tmp_path: Path, image: Path) -> None:
    source = tmp_path / "in"
    for name, radius in (("a.stl", 3.0), ("sub/b.vtk", 2.5), ("sub/deep/c.ply", 2.0)):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mesh(ball(radius), path)
    ran = cochlear("voxelize", source, "--like", image, "--out", tmp_path / "masks")
    assert (ran.code, ran.out.strip()) == (0, "3 done, 0 there already, 0 failed")
    for name, radius in (("a", 3.0), ("sub/b", 2.5), ("sub/deep/c", 2.0)):
        mask = open_nifti(tmp_path / "masks" / f"{name}.nii.gz")
        np.testing.assert_allclose(mask.affine, VOLUME.affine, atol=1e-5)
        expected = voxelize_structures({"x": ball(radius)}, VOLUME.affine, VOLUME.shape)["x"]
        assert np.count_nonzero(expected != (np.asarray(mask.dataobj) != 0)) <= 2  # vertices rounded to float32
    assert cochlear("mesh", tmp_path / "masks", tmp_path / "back", "--format", "ply", "--smooth", "10").code == 0
    for name, radius in (("a", 3.0), ("sub/b", 2.5), ("sub/deep/c", 2.0)):
        back, true = read_mesh(tmp_path / "back" / f"{name}.ply"), ball(radius).vertices * [-1, -1, 1]
        assert back.space == "lps"
        middle = true.mean(axis=0)
        assert abs(np.linalg.norm(back.vertices - middle, axis=1).mean() - radius) < 0.05
        assert back.signed_volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)
    assert not list(tmp_path.rglob(".*"))


def test_a_bad_file_is_named_and_the_others_are_done(cochlear: Cochlear, tmp_path: Path, image: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    write_mesh(ball(3.0), source / "good.vtk")
    (source / "sub" / "bad.stl").write_bytes(b"no surface")
    write_mesh(ball(2.0), source / "zz.ply")
    ran = cochlear("voxelize", source, "--like", image, "--out", out)
    assert ran.code == 1
    assert len(ran.err.strip().splitlines()) == 1
    assert "sub/bad.stl" in ran.err
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == ["good.nii.gz", "zz.nii.gz"]
    # A second run does what is missing only, unless it is told to do all.
    write_mesh(ball(2.0), source / "sub" / "bad.stl")
    before = (out / "good.nii.gz").stat().st_mtime_ns
    ran = cochlear("voxelize", source, "--like", image, "--out", out)
    assert (ran.code, ran.out.strip()) == (0, "1 done, 2 there already, 0 failed")
    assert (out / "good.nii.gz").stat().st_mtime_ns == before
    assert cochlear("voxelize", source, "--like", image, "--out", out, "--force").code == 0
    assert (out / "good.nii.gz").stat().st_mtime_ns > before


def test_a_label_map_gives_surfaces_named_by_structure(cochlear: Cochlear, tmp_path: Path) -> None:
    data = np.zeros((30, 32, 34), dtype=np.uint8)
    data[4:12, 5:15, 6:16] = 2
    data[18:26, 20:28, 0:9] = 4  # at the border of the image
    affine = np.array([[0.1, -0.3, 0.02, 5], [0.3, 0.1, 0.01, -7], [-0.01, 0.02, -0.4, 3], [0, 0, 0, 1.0]])
    source = save(tmp_path / "in" / "case" / "labels.nii.gz", data, affine)
    assert cochlear("mesh", source, tmp_path / "one", "--space", "ras").code == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["labyrinth.vtk", "scala_tympani.vtk"]
    middle = read_mesh(tmp_path / "one" / "scala_tympani.vtk").vertices.mean(axis=0)
    np.testing.assert_allclose(middle, affine[:3, :3] @ [7.5, 9.5, 10.5] + affine[:3, 3], atol=0.02)
    border = read_mesh(tmp_path / "one" / "labyrinth.vtk")
    assert border.signed_volume == pytest.approx(8 * 8 * 9 * abs(np.linalg.det(affine[:3, :3])), rel=0.05)
    assert cochlear("mesh", tmp_path / "in", tmp_path / "all", "--format", "mesh").code == 0
    voxel = read_mesh(tmp_path / "all" / "case" / "labels" / "labyrinth.mesh")
    np.testing.assert_allclose(voxel.vertices.min(axis=0), [17.5, 19.5, -0.5])
    assert "--label" in cochlear.refuses("mesh", source, tmp_path / "x.vtk")
    assert cochlear("mesh", source, tmp_path / "x.vtk", "--label", "2").code == 0
    assert "2, 4" in cochlear.refuses("mesh", source, tmp_path / "x.vtk", "--label", "3")


def test_voxel_surfaces_need_a_grid_and_take_what_they_state(cochlear: Cochlear, tmp_path: Path) -> None:
    surface = sphere(6.0, (15.0, 16.0, 20.0))
    stated, bare = tmp_path / "stated.mesh", tmp_path / "bare.mesh"
    grid, spacing = (32, 34, 40), (0.2, 0.25, 0.3)
    stated.write_bytes(encode_published(surface, colour=(1, 2, 3), grid=grid, spacing_mm=spacing))
    bare.write_bytes(encode_published(surface, colour=(1, 2, 3)))
    assert "--like" in cochlear.refuses("voxelize", bare, "--out", tmp_path / "m.nii.gz")
    assert cochlear("voxelize", stated, "--out", tmp_path / "stated.nii.gz").code == 0
    options = ("--grid", "32x34x40", "--spacing", "0.2x0.25x0.3")
    assert cochlear("voxelize", bare, *options, "--out", tmp_path / "bare.nii.gz").code == 0
    one, other = (open_nifti(tmp_path / f"{name}.nii.gz") for name in ("stated", "bare"))
    assert np.array_equal(one.dataobj, other.dataobj)
    np.testing.assert_allclose(one.affine, np.diag([-0.2, -0.25, 0.3, 1]), atol=1e-6)
    assert nibabel.aff2axcodes(one.affine) == ("L", "P", "S")
    mask = np.asarray(one.dataobj) != 0
    np.testing.assert_allclose(np.argwhere(mask).mean(axis=0), (15, 16, 20), atol=0.05)
    assert "--spacing" in cochlear.refuses("voxelize", bare, "--grid", "32", "--out", tmp_path / "m.nii.gz")
    assert "numbers" in cochlear.refuses(
        "voxelize", bare, "--grid", "32x2", "--spacing", "0.2", "--out", tmp_path / "m.nii.gz"
    )


def test_every_surface_finds_its_own_image(cochlear: Cochlear, tmp_path: Path) -> None:
    for case, origin in (("one", 0.0), ("two", 40.0)):
        affine = VOLUME.affine.copy()
        affine[0, 3] += origin
        save(tmp_path / "images" / f"{case}.nii.gz", VOLUME.data, affine)
        path = tmp_path / "in" / case / "labyrinth.vtk"
        path.parent.mkdir(parents=True)
        write_mesh(ball(3.0, origin), path)
    (tmp_path / "in" / "three").mkdir()
    write_mesh(ball(3.0), tmp_path / "in" / "three" / "labyrinth.vtk")
    ran = cochlear("voxelize", tmp_path / "in", "--like", tmp_path / "images", "--out", tmp_path / "out")
    assert ran.code == 1
    assert "three/labyrinth.vtk" in ran.err
    masks = [np.asarray(open_nifti(tmp_path / "out" / case / "labyrinth.nii.gz").dataobj) for case in ("one", "two")]
    assert np.count_nonzero(masks[0]) > 100
    assert np.count_nonzero(masks[0] != masks[1]) <= 4


def test_folders_that_cannot_be_used_are_refused(cochlear: Cochlear, tmp_path: Path, image: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    assert "no such files" in cochlear.refuses("voxelize", source, "--like", image, "--out", tmp_path / "out")
    write_mesh(ball(3.0), source / "a.vtk")
    assert "within" in cochlear.refuses("mesh", source, source / "out")
    write_mesh(ball(3.0), source / "a.ply")
    assert "a.ply and a.vtk" in cochlear.refuses("mesh", source, tmp_path / "out")
    (source / "a.ply").unlink()
    (source / "a").mkdir()
    write_mesh(ball(3.0), source / "a" / "b.vtk")
    assert "beside a folder" in cochlear.refuses("mesh", source, tmp_path / "out")
    (tmp_path / "taken.vtk").mkdir()
    assert "a folder" in cochlear.refuses("mesh", source / "a.vtk", tmp_path / "taken.vtk")
    assert not (tmp_path / "out").exists()


def test_masks_without_labels_are_refused(cochlear: Cochlear, tmp_path: Path) -> None:
    save(tmp_path / "empty.nii.gz", np.zeros((8, 8, 8), np.uint8))
    soft = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    save(tmp_path / "soft.nii.gz", soft)
    assert "empty" in cochlear.refuses("mesh", tmp_path / "empty.nii.gz", tmp_path / "x.vtk")
    assert "threshold" in cochlear.refuses("mesh", tmp_path / "soft.nii.gz", tmp_path / "x.vtk")
    assert not list(tmp_path.glob("*.vtk"))
