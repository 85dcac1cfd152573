"""Segmentation networks run like any model: masks and surfaces in the patient, and structures that are not there."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from segmentations import open_nifti, save_nifti, volume_on
from segnet_fixtures import random_network, write_threshold_bundle
from surfaces import rotation

from model.bundle import find_bundle, load_bundle
from model.bundle.schema import AsStored, SegmentationSection, TrainingSection
from model.errors import BundleError, OptionError
from model.evaluation.overlap import dice
from model.geometry.alignment import Alignment
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Side
from model.masks.voxelize import voxelize_structures
from model.meshes.topology import count_open_edges, count_pieces, vertex_normals
from model.outputs.patient_masks import patient_masks
from model.outputs.report import ResultReport
from model.outputs.segmentation import Segmentation
from model.outputs.store import MeshStore
from model.outputs.write import write_results
from model.request import CheckedRequest, check_request
from model.segmentation import SEGMENTATION_STAGES, Segmenter
from model.structures import STRUCTURE_IDS
from model.training.segmentation_bundle import write_segnet_bundle

FloatArray = npt.NDArray[np.float64]

SPACING_MM = 0.25
FRAME = CanonicalFrame((64, 64, 64), SPACING_MM, "LPS", "left", {})
# Balls in mm of the canonical crop, from its first voxel: no symmetry in any axis.
BALLS = (((5.0, 7.0, 8.0), 2.6), ((8.2, 7.5, 8.5), 1.9), ((5.5, 10.0, 9.5), 1.6), ((5.2, 6.0, 11.4), 1.6))
HU_PER_MM = 400.0
DEPTHS_MM = (-0.25, -0.1, 0.05, 0.2)
"""Distance from the balls' surface to that of each structure in turn, outward."""
THRESHOLDS = [depth * HU_PER_MM / 1000 for depth in DEPTHS_MM]


def depth_mm(points_mm: FloatArray) -> FloatArray:
    """Give the signed distance to the surface of the balls, negative inside."""
    parts = [np.linalg.norm(points_mm - centre, axis=-1) - radius for centre, radius in BALLS]
    return np.asarray(np.min(parts, axis=0))


def pose(side: Side) -> FloatArray:
    """Give canonical ijk -> RAS mm of an oblique ear, mirrored when it is a right one."""
    mirror = np.diag([-1.0 if side == "right" else 1.0, 1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(3) @ np.diag([-1.0, -1.0, 1.0]) @ mirror * SPACING_MM
    matrix[:3, 3] = np.array([40.0, -25.0, 12.0]) - matrix[:3, :3] @ np.full(3, 31.5)
    return matrix


def inverse(matrix: FloatArray) -> FloatArray:
    """Invert a (4, 4) matrix."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def grid(spacing: Sequence[float], seed: int = 5) -> tuple[FloatArray, tuple[int, int, int]]:
    """Give the affine and shape of an oblique grid about the ear."""
    i, j, k = (int(np.ceil(16.0 / abs(size))) for size in spacing)
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) @ np.diag(spacing)
    affine[:3, 3] = np.array([40.3, -25.2, 11.8]) - affine[:3, :3] @ (np.array([i, j, k]) / 2)
    return affine, (i, j, k)


def ear(side: Side, spacing: Sequence[float] = (0.3, -0.24, 0.35)) -> CheckedRequest:
    """Give a CT whose HU are the signed distance to the balls, in the patient's pose."""
    affine, shape = grid(spacing)
    volume = volume_on(affine, shape)
    to_canonical = inverse(pose(side))
    data = np.clip(HU_PER_MM * depth_at(affine, shape, to_canonical), -1000, 1000).astype(np.float32)
    alignment = Alignment(to_canonical, side, "landmarks", 0.2)
    return CheckedRequest(replace(volume, data=data), "raw", alignment, side, ())


def depth_at(
    affine: FloatArray, shape: tuple[int, int, int], to_canonical: FloatArray, offset: Sequence[float] = (0.0, 0.0, 0.0)
) -> FloatArray:
    """Give the depth at the voxels of a grid, or beside their centres by an offset in voxels."""
    indices = np.moveaxis(np.indices(shape), 0, -1) + np.asarray(offset)
    matrix = to_canonical @ affine
    return depth_mm((indices @ matrix[:3, :3].T + matrix[:3, 3]) * SPACING_MM)


def true_masks(request: CheckedRequest) -> dict[str, npt.NDArray[np.bool_]]:
    """Give the voxels that lie inside by at least one half, by 3^3 points in each."""
    volume, to_canonical = request.volume, request.alignment.ras_to_canonical
    places = np.array([-1, 0, 1]) / 3
    depths = [depth_at(volume.affine, volume.shape, to_canonical, at) for at in itertools.product(places, repeat=3)]
    return {
        name: np.mean([values < depth for values in depths], axis=0) >= 0.5
        for name, depth in zip(STRUCTURE_IDS, DEPTHS_MM, strict=True)
    }


def segmenter(folder: Path, thresholds: Sequence[float | None] = THRESHOLDS, **settings: Any) -> Segmenter:  # noqa: ANN401
    """Load a threshold network for the ear."""
    path = write_threshold_bundle(folder, "thresholds", FRAME, thresholds, window_hu=(-1000, 1000), **settings)
    return Segmenter(load_bundle(find_bundle(path)), "cpu")


@pytest.mark.parametrize(
    ("side", "settings", "likeness"),
    [("right", {}, 0.975), ("left", {"factor": 2, "margin": 6}, 0.95)],
)
def test_structures_lie_in_the_patient_where_they_are(
    tmp_path: Path, side: Side, settings: dict[str, Any], likeness: float
) -> None:
    request = ear(side)
    told: list[tuple[str, float]] = []
    result = segmenter(tmp_path, **settings).run(request, lambda stage, done: told.append((stage, done)))
    masks, truth = patient_masks(result), true_masks(request)
    voxelized = voxelize_structures(result.meshes_ras, request.volume.affine, request.volume.shape)
    voxel_mm3 = abs(np.linalg.det(request.volume.affine[:3, :3]))
    for name, depth in zip(STRUCTURE_IDS, DEPTHS_MM, strict=True):
        assert dice(masks[name], truth[name]) > likeness, name
        assert dice(masks[name], voxelized[name]) > 0.975, name
        mesh = result.meshes_ras[name]
        assert (mesh.space, count_open_edges(mesh.triangles), count_pieces(mesh)) == ("ras", 0, 1)
        canonical = mesh.transformed(request.alignment.ras_to_canonical, "ijk")
        # Creases between balls and the coarser grid's blur are the exceptions.
        apart = np.abs(depth_mm(canonical.vertices * SPACING_MM) - depth)
        assert np.quantile(apart, 0.9) < 0.04 * settings.get("factor", 1) ** 2
        assert mesh.signed_volume == pytest.approx(truth[name].sum() * voxel_mm3, rel=2 * (1 - likeness))
        outward = canonical.vertices + vertex_normals(canonical)
        assert np.mean(depth_mm(outward * SPACING_MM) > depth) > 0.98
    assert result.ddf_ijk is None
    assert [stage for stage, done in told if done == 1.0] == list(SEGMENTATION_STAGES)
    other: Side = "left" if side == "right" else "right"
    wrong = replace(request, alignment=replace(request.alignment, ras_to_canonical=inverse(pose(other))))
    assert dice(masks["labyrinth"], true_masks(wrong)["labyrinth"]) < 0.9


def prepared(folder: Path, image: npt.NDArray[np.float32], affine: FloatArray, frame: CanonicalFrame) -> CheckedRequest:
    """Write a prepared crop and check it as a request."""
    save_nifti(folder / "crop.nii.gz", image, affine)
    return check_request(folder / "crop.nii.gz", landmarks=None, side=None, frame=frame, intensity=None)


def test_masks_of_a_prepared_crop_are_exactly_those_of_the_network(tmp_path: Path) -> None:
    frame = CanonicalFrame((28, 32, 36), 0.2, "LPS", "left", {})
    network = random_network()
    path = write_segnet_bundle(
        tmp_path,
        network,
        name="random",
        version="1",
        structures=STRUCTURE_IDS,
        frame=frame,
        intensity=AsStored(),
        training=TrainingSection(data="None."),
        segmentation=SegmentationSection(pieces="all"),
    )
    crop = np.random.default_rng(0).uniform(-1, 1, frame.grid).astype(np.float32)
    with torch.no_grad():
        raw = network(torch.from_numpy(crop)[None, None])[0]
    # Fresh weights give nearly constant logits; their medians as biases make masks of half of the voxels.
    state = {key: value.clone() for key, value in network.state_dict().items()}
    state["logits.bias"] -= raw.flatten(1).median(dim=1).values
    network.load_state_dict(state)
    write_segnet_bundle(
        tmp_path,
        network,
        name="random",
        version="1",
        structures=STRUCTURE_IDS,
        frame=frame,
        intensity=AsStored(),
        training=TrainingSection(data="None."),
        segmentation=SegmentationSection(pieces="all"),
        replace=True,
    )
    with torch.no_grad():
        expected = (torch.sigmoid(network(torch.from_numpy(crop)[None, None]))[0] > 0.5).numpy()
    assert 0.2 < expected.mean() < 0.8
    model = Segmenter(load_bundle(path), "cpu")
    # The same crop as it is, and stored in another axis order with one axis flipped.
    upright = np.diag([-0.2, -0.2, 0.2, 1.0])
    turned = upright @ np.array([[0, 0, 1, 0], [0, -1, 0, 31], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    for turn, affine in ((False, upright), (True, turned)):
        image = crop.transpose(2, 1, 0)[:, ::-1] if turn else crop
        result = model.run(prepared(tmp_path, np.ascontiguousarray(image), affine, frame))
        masks = patient_masks(result)
        for channel, name in enumerate(STRUCTURE_IDS):
            mask = masks[name][:, ::-1].transpose(2, 1, 0) if turn else masks[name]
            np.testing.assert_array_equal(mask, expected[channel])
            assert count_open_edges(result.meshes_ras[name].triangles) == 0


def test_smaller_pieces_are_left_out_unless_all_are_asked_for(tmp_path: Path) -> None:
    request = ear("left")
    with_speck = replace(request.volume, data=request.volume.data.copy())
    place = np.linalg.inv(request.volume.affine) @ pose("left") @ [50.0, 12.0, 15.0, 1.0]
    i, j, k = (int(value) for value in np.round(place[:3]))
    with_speck.data[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = -1000
    request = replace(request, volume=with_speck)
    pieces = {}
    for rule in ("largest", "all"):
        (tmp_path / rule).mkdir()
        result = segmenter(tmp_path / rule, pieces=rule).run(request)
        mask = patient_masks(result)["labyrinth"]
        assert mask[i, j, k] == (rule == "all")
        pieces[rule] = count_pieces(result.meshes_ras["labyrinth"])
    assert pieces == {"largest": 1, "all": 2}


@pytest.fixture(scope="module", params=["some", "none"])
def incomplete(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Segmentation, Path]:
    """A result without the scala tympani, or without anything, written over an earlier one that has a field."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "out").mkdir()
    for name in ("report.json", "displacement.nii.gz"):
        (folder / "out" / name).write_bytes(b"of an earlier result")
    thresholds = [THRESHOLDS[0], None, *THRESHOLDS[2:]] if request.param == "some" else [None] * 4
    result = segmenter(folder, thresholds).run(ear("right", (0.6, 0.5, 0.55)))
    write_results(result, folder / "out", mesh_formats=("vtk",))
    return result, folder / "out"


def test_structures_that_are_not_there_are_said_and_empty(incomplete: tuple[Segmentation, Path]) -> None:
    result, out = incomplete
    missing = [name for name in STRUCTURE_IDS if name not in result.meshes_ras]
    assert missing in (["scala_tympani"], list(STRUCTURE_IDS))
    report = ResultReport.model_validate_json((out / "report.json").read_text())
    assert len([text for text in report.warnings if "was not found" in text]) == len(missing)
    assert [facts.id for facts in report.structures] == list(STRUCTURE_IDS)
    for facts in report.structures:
        mask = np.asarray(open_nifti(out / "masks" / f"{facts.id}.nii.gz").dataobj)
        assert mask.shape == result.volume.shape
        assert mask.sum() == facts.mask_voxels
        absent = facts.id in missing
        assert (mask.sum() == 0) == absent == (facts.centroid_ras is None) == (facts.vertices == 0)
        assert (out / "meshes" / f"{facts.id}.vtk").exists() == (not absent)
        check = next(check for check in report.quality.checks if check.name == f"volume_{facts.id}")
        assert ("was not found" in check.reason) == absent
    assert report.quality.verdict == "fail"
    assert "folded_fraction" not in {check.name for check in report.quality.checks}
    labels = np.unique(np.asarray(open_nifti(out / "masks" / "labels.nii.gz").dataobj))
    assert 2 not in labels
    assert not (out / "displacement.nii.gz").exists()
    assert list(MeshStore.read(out / "meshes.npz").meshes_ras) == list(result.meshes_ras)
    with pytest.raises(OptionError, match="no such structure"):
        MeshStore.read(out / "meshes.npz").render("scala_tympani", "stl")


def test_the_rest_of_an_incomplete_result_is_whole(incomplete: tuple[Segmentation, Path]) -> None:
    import nrrd

    result, out = incomplete
    data, header = nrrd.read(str(out / "masks" / "segmentation.seg.nrrd"), index_order="F")
    assert data.shape[-3:] == result.volume.shape
    assert [header[f"Segment{at}_ID"] for at in range(4)] == list(STRUCTURE_IDS)
    with Image.open(out / "preview.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    with zipfile.ZipFile(out / "archive.zip") as archive:
        assert archive.testzip() is None
        assert "masks/scala_tympani.nii.gz" in archive.namelist()
        assert not any("displacement" in name or "meshes/scala_tympani" in name for name in archive.namelist())


def test_there_is_no_atlas_to_place_or_to_ask_for(tmp_path: Path) -> None:
    model = segmenter(tmp_path)
    assert model.refinement is None
    with pytest.raises(OptionError, match="no atlas"):
        model.run(ear("left"), deform=False)
    for ask in (lambda: model.bundle.atlas_meshes_ijk, model.bundle.atlas_input, model.bundle.atlas_image):
        with pytest.raises(BundleError, match="no atlas"):
            ask()
    assert model.bundle.structure_ids == STRUCTURE_IDS
    assert {path.name for path in model.bundle.path.iterdir()} == {"bundle.json", "weights.safetensors"}


def test_a_network_that_does_not_fit_its_bundle_is_refused(tmp_path: Path) -> None:
    bundle = segmenter(tmp_path).bundle
    fewer = bundle.manifest.model_copy(update={"structures": bundle.manifest.structures[:3]})
    with pytest.raises(BundleError, match="3 channels"):
        Segmenter(replace(bundle, manifest=fewer), "cpu")
    odd = bundle.manifest.frame.model_copy(update={"grid": (64, 64, 63)})
    with pytest.raises(BundleError, match="crop"):
        Segmenter(replace(bundle, manifest=bundle.manifest.model_copy(update={"frame": odd})), "cpu")
