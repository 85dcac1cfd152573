"""A result as a whole: every file reopened by an independent reader."""

from __future__ import annotations

import hashlib
import itertools
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name everybody uses
from PIL import Image
from scipy import ndimage
from segmentations import field_of, oblique_volume, open_nifti, segmentation, volume_on
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOLegacy import vtkPolyDataReader

from model.errors import MeshError, OptionError
from model.geometry.landmarks import Side
from model.meshes.formats import read_mesh
from model.meshes.mesh import SurfaceMesh
from model.outputs.facts import volume_centroid
from model.outputs.report import ResultReport
from model.outputs.segmentation import Segmentation
from model.outputs.store import MeshStore, OutputSpace, default_space, render_mesh
from model.outputs.write import write_results
from model.structures import STRUCTURE_IDS, STRUCTURES

LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module", params=["left", "right"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Segmentation, Path]:
    side: Side = request.param
    ear = segmentation(side)
    out = tmp_path_factory.mktemp(side) / "result"
    write_results(ear, out, mesh_formats=("vtk", "stl", "mesh"))
    return ear, out


def itk_points(image: sitk.Image, indices: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """LPS mm of voxel indices, by SimpleITK."""
    return np.array([image.TransformContinuousIndexToPhysicalPoint(index) for index in indices.astype(float).tolist()])


def test_all_files_are_there(result: tuple[Segmentation, Path]) -> None:
    _, out = result
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    meshes = {f"meshes/{name}.{fmt}" for name in STRUCTURE_IDS for fmt in ("vtk", "stl", "mesh")}
    masks = {f"masks/{name}.nii.gz" for name in (*STRUCTURE_IDS, "labels")} | {"masks/segmentation.seg.nrrd"}
    others = {"displacement.nii.gz", "report.json", "preview.png", "meshes.npz", "manifest.json", "archive.zip"}
    assert names == meshes | masks | others
    assert [path.name for path in out.parent.iterdir()] == ["result"]


def test_mesh_files_hold_the_vertices_in_lps_millimetres(result: tuple[Segmentation, Path]) -> None:
    ear, out = result
    for name, mesh in ear.meshes_ras.items():
        reader = vtkPolyDataReader()
        reader.SetFileName(str(out / "meshes" / f"{name}.vtk"))
        reader.Update()
        points = vtk_to_numpy(reader.GetOutput().GetPoints().GetData())
        assert np.abs(points - mesh.vertices * LPS).max() < 1e-5
        assert "SPACE=LPS" in reader.GetHeader()


@pytest.mark.parametrize("name", STRUCTURE_IDS)
def test_mask_and_mesh_share_their_centroid_and_volume(result: tuple[Segmentation, Path], name: str) -> None:
    ear, out = result
    image = sitk.ReadImage(str(out / "masks" / f"{name}.nii.gz"))
    mask = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    centroid_lps = itk_points(image, np.argwhere(mask)).mean(axis=0)
    mesh = read_mesh(out / "meshes" / f"{name}.stl")
    assert np.linalg.norm(centroid_lps - volume_centroid(mesh)) < 0.1
    assert np.linalg.norm(centroid_lps - mesh.vertices.mean(axis=0)) < 0.1  # ellipsoids
    # Of a ball of r voxels the rule leaves out 1 / (4 r^2): 2 % of the labyrinth's parts, 5 % of the small ellipsoids.
    tolerance = 0.02 if name == "labyrinth" else 0.05
    volume = mask.sum() * np.prod(image.GetSpacing())
    assert volume == pytest.approx(ear.meshes_ras[name].signed_volume, rel=tolerance)
    assert mesh.signed_volume > 0


def test_masks_lie_on_the_grid_of_the_image(result: tuple[Segmentation, Path]) -> None:
    ear, out = result
    for path in (out / "masks").glob("*.nii.gz"):
        image = open_nifti(path)
        assert isinstance(image, nibabel.Nifti1Image)
        assert image.shape == ear.volume.shape
        assert np.allclose(image.affine, ear.volume.affine, atol=1e-5)
        assert image.get_data_dtype() == np.uint8
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (2, 2)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert b"travel" not in image.header["descrip"].tobytes()


def test_labels_are_the_masks_with_the_inner_structures_on_top(result: tuple[Segmentation, Path]) -> None:
    _, out = result
    masks = {s.id: np.asarray(open_nifti(out / "masks" / f"{s.id}.nii.gz").dataobj) > 0 for s in STRUCTURES}
    labels = np.asarray(open_nifti(out / "masks" / "labels.nii.gz").dataobj)
    for structure in STRUCTURES[:3]:
        assert np.array_equal(labels == structure.label, masks[structure.id])
    assert np.array_equal(labels > 0, np.any(list(masks.values()), axis=0))


def test_the_segmentation_of_3d_slicer_holds_every_structure_in_full(result: tuple[Segmentation, Path]) -> None:
    import nrrd

    ear, out = result
    data, header = nrrd.read(str(out / "masks" / "segmentation.seg.nrrd"), index_order="F")
    assert header["space"] == "left-posterior-superior"
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    directions, origin = header["space directions"], header["space origin"]
    assert np.isnan(directions[0]).all()
    assert np.allclose(directions[1:].T, LPS[:, None] * ear.volume.affine[:3, :3], atol=1e-9)
    assert np.allclose(origin, LPS * ear.volume.affine[:3, 3])
    for at, structure in enumerate(STRUCTURES):
        assert header[f"Segment{at}_ID"] == structure.id
        assert header[f"Segment{at}_Name"] == structure.name
        layer, label = int(header[f"Segment{at}_Layer"]), int(header[f"Segment{at}_LabelValue"])
        colour = [float(part) * 255 for part in header[f"Segment{at}_Color"].split()]
        assert np.allclose(colour, structure.colour, atol=0.01)
        mask = np.asarray(open_nifti(out / "masks" / f"{structure.id}.nii.gz").dataobj) > 0
        assert np.array_equal(data[layer] == label, mask)
        occupied = np.argwhere(mask)
        extent = np.stack([occupied.min(axis=0), occupied.max(axis=0)], axis=1).ravel()
        assert header[f"Segment{at}_Extent"] == " ".join(str(value) for value in extent)
    assert data.shape[0] == 2  # the inner structures share a layer


def test_the_displacement_field_is_itks(result: tuple[Segmentation, Path]) -> None:
    """SimpleITK's own transform moves points of the placed atlas as the field of the run does."""
    ear, out = result
    path = str(out / "displacement.nii.gz")
    header = open_nifti(out / "displacement.nii.gz").header
    assert int(header["intent_code"]) == 1007
    assert header.get_data_shape()[3:] == (1, 3)
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))
    canonical = np.random.default_rng(2).uniform(10, 28, (50, 3))
    step = np.stack([ndimage.map_coordinates(c, canonical.T, order=1) for c in field_of(ear)], axis=1)
    to_ras = ear.alignment.canonical_to_ras
    before, after = (points @ to_ras[:3, :3].T + to_ras[:3, 3] for points in (canonical, canonical + step))
    moved = np.array([transform.TransformPoint(point) for point in (before * LPS).tolist()])
    assert np.abs(step).max() > 0.8
    assert np.abs(moved - after * LPS).max() < 0.01


def test_the_report_says_what_was_done(result: tuple[Segmentation, Path]) -> None:
    ear, out = result
    report = ResultReport.model_validate_json((out / "report.json").read_text())
    assert report.model.name == "example"
    assert report.alignment.side == ear.alignment.side
    assert report.alignment.mirrored == (ear.alignment.side == "right")
    assert report.input.shape == ear.volume.shape
    assert report.input.data_type == "int16"
    assert set(report.timings_s) == {"register", "mask", "write"}
    assert report.warnings == ["the slices are thick"]
    assert [facts.id for facts in report.structures] == list(STRUCTURE_IDS)
    for facts in report.structures:
        assert facts.mesh_volume_mm3 == pytest.approx(facts.mask_volume_mm3, rel=0.05)
    assert "Research use only" in report.intended_use
    assert {check.name for check in report.quality.checks} >= {"folded_fraction", "landmark_residual"}


def test_the_archive_holds_what_the_manifest_lists(result: tuple[Segmentation, Path]) -> None:
    _, out = result
    manifest = json.loads((out / "manifest.json").read_text())
    with zipfile.ZipFile(out / "archive.zip") as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {entry["name"] for entry in manifest["files"]} | {"manifest.json"}
        for entry in manifest["files"]:
            content = archive.read(entry["name"])
            assert hashlib.sha256(content).hexdigest() == entry["sha256"]
            assert content == (out / entry["name"]).read_bytes()
    assert "report.json" in {entry["name"] for entry in manifest["files"]}


def test_the_preview_shows_all_colours(result: tuple[Segmentation, Path]) -> None:
    _, out = result
    with Image.open(out / "preview.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for structure in STRUCTURES:
        near = np.abs(pixels - structure.colour).max(axis=1) < 12
        assert near.sum() > 150


@pytest.mark.parametrize("space", ["lps", "ras", "voxel"])
@pytest.mark.parametrize("fmt", ["vtk", "vtp", "stl", "ply", "obj", "glb", "mesh"])
def test_any_mesh_file_is_made_on_request(
    result: tuple[Segmentation, Path], fmt: str, space: OutputSpace, tmp_path: Path
) -> None:
    ear, out = result
    if fmt == "mesh" and space != "voxel":
        with pytest.raises(OptionError, match="voxel"):
            render_mesh(out, "modiolus", fmt, space)
        return
    path = tmp_path / f"modiolus.{fmt}"
    path.write_bytes(render_mesh(out, "modiolus", fmt, space))
    mesh = read_mesh(path)
    mesh_ras = ear.meshes_ras["modiolus"]
    to_ras = {"lps": np.diag([*LPS, 1.0]), "ras": np.eye(4), "voxel": ear.volume.affine}[space]
    assert mesh.space == {"voxel": "ijk"}.get(space, space)
    assert mesh.signed_volume > 0
    back = mesh.transformed(to_ras, "ras")
    assert (
        np.abs(back.vertices[back.triangles].mean(axis=1) - mesh_ras.vertices[mesh_ras.triangles].mean(axis=1)).max()
        < 2e-5
    )
    assert render_mesh(out, "modiolus", fmt) == render_mesh(out, "modiolus", fmt, default_space(fmt))


def test_a_store_is_read_from_a_stream_and_unknown_names_are_refused(result: tuple[Segmentation, Path]) -> None:
    _, out = result
    with (out / "meshes.npz").open("rb") as stream:
        store = MeshStore.read(stream)
    assert list(store.meshes_ras) == list(STRUCTURE_IDS)
    for arguments in (("cochlea", "vtk", "lps"), ("modiolus", "doc", "lps"), ("modiolus", "vtk", "mni")):
        with pytest.raises(OptionError):
            store.render(*arguments)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_48_axis_orders_give_the_same_masks_on_their_own_grids(side: Side) -> None:
    from model.masks.voxelize import voxelize_structures

    volume = oblique_volume()
    ear = segmentation(side, volume=volume)
    meshes = {"labyrinth": ear.meshes_ras["labyrinth"]}
    reference = voxelize_structures(meshes, volume.affine, volume.shape)["labyrinth"]
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            change = np.zeros((4, 4))
            change[3, 3] = 1
            for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
                change[source, axis] = -1 if flip else 1
                change[source, 3] = volume.shape[source] - 1 if flip else 0
            shape = (volume.shape[order[0]], volume.shape[order[1]], volume.shape[order[2]])
            mask = voxelize_structures(meshes, volume.affine @ change, shape)["labyrinth"]
            expected = np.flip(reference.transpose(order), axis=tuple(np.flatnonzero(flips)))
            assert np.count_nonzero(mask != expected) <= 0.005 * reference.sum()


def test_a_result_is_complete_or_not_there(tmp_path: Path) -> None:
    ear = segmentation()
    labyrinth = ear.meshes_ras["labyrinth"]
    torn = SurfaceMesh(labyrinth.vertices, labyrinth.triangles[7:], "ras")
    with pytest.raises(MeshError):
        write_results(replace(ear, meshes_ras={**ear.meshes_ras, "labyrinth": torn}), tmp_path / "result")
    with pytest.raises(OptionError, match="unknown mesh format"):
        write_results(ear, tmp_path / "result", mesh_formats=("vtk", "doc"))
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_is_replaced_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    small = volume_on(
        np.diag([0.8, 0.8, 0.8, 1.0]) + np.array([[0, 0, 0, 32], [0, 0, 0, -33], [0, 0, 0, 4], [0] * 4]), (20, 20, 20)
    )
    ear = segmentation(volume=small)
    stages: list[tuple[str, float]] = []
    out = tmp_path / "result"
    out.mkdir()
    masks = write_results(ear, out, mesh_formats=("stl",), progress=lambda stage, part: stages.append((stage, part)))
    assert set(masks) == set(STRUCTURE_IDS)
    assert stages[0] == ("mask", 0.0)
    assert stages[-1] == ("write", 1.0)
    parts = [part for stage, part in stages if stage == "write"]
    assert parts == sorted(parts)
    (out / "notes.txt").write_text("mine")
    write_results(ear, out, mesh_formats=("ply",))
    assert {path.suffix for path in (out / "meshes").iterdir()} == {".ply"}
    assert (out / "notes.txt").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(OptionError, match="holds other files"):
        write_results(ear, other)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
