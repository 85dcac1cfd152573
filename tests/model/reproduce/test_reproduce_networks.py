"""From its activation map a case becomes what it becomes from its image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import torch
from bundle_fixtures import sphere
from map_bundles import (
    CROP_AFFINE,
    registration_map,
    save_crop,
    segmentation_map,
    write_registration_bundle,
    write_segmentation_bundle,
)
from published_case import formula_values
from support import shared_path
from threshold_maps import save_map

from model.bundle import find_bundle, load_bundle
from model.errors import BundleError, ReleaseError, RunError
from model.meshes.mesh import SurfaceMesh
from model.meshes.published import decode_published
from model.networks.published import PublishedRegistrationNet
from model.networks.segnet import PublishedSegNet
from model.outputs.patient_masks import patient_masks
from model.release.importer import import_release
from model.reproduce.predictors import predictor_of_bundle
from model.reproduce.registration import RegistrationMaps
from model.reproduce.run import Reproduced, reproduce
from model.reproduce.segmentation import SegmentationMaps
from model.request import check_request
from model.segmentation import Segmenter
from model.structures import LABYRINTH, STRUCTURE_IDS, STRUCTURES

CPU = torch.device("cpu")
Writer = Callable[[Path, str], Path]


def reproduced(bundle: Path, maps: Path, out: Path) -> Reproduced:
    """Recompute the cases of a folder."""
    return reproduce(maps, predictor_of_bundle(load_bundle(bundle), CPU), out)


def read_masks(out: Path, method: str, case: str) -> dict[str, nibabel.Nifti1Image]:
    """Read the masks of a case."""
    images = {
        s.id: nibabel.Nifti1Image.from_filename(out / "mask" / method / s.code / f"{case}.nii.gz") for s in STRUCTURES
    }
    return images


def read_meshes(out: Path, method: str, case: str) -> dict[str, SurfaceMesh]:
    """Read the meshes of a case, those that are there."""
    paths = {s.id: out / "mesh" / method / s.code / f"{case}.mesh" for s in STRUCTURES}
    return {name: decode_published(path.read_bytes()) for name, path in paths.items() if path.exists()}


@pytest.mark.parametrize(
    ("method", "write", "make"),
    [
        ("chamfer", write_registration_bundle, registration_map),
        ("segnet", write_segmentation_bundle, segmentation_map),
    ],
)
def test_map_gives_what_the_image_gives(
    tmp_path: Path, method: str, write: Writer, make: Callable[[], npt.NDArray[np.float32]]
) -> None:
    bundle = load_bundle(write(tmp_path, method))
    save_map(tmp_path / "maps", "ear", make())
    assert reproduced(bundle.path, tmp_path / "maps", tmp_path / "out").done == ["ear"]
    request = check_request(save_crop(tmp_path / "crop.nii.gz"), landmarks=None, side=None, frame=bundle.frame)
    segmentation = Segmenter(bundle, "cpu").run(request)
    masks, meshes = read_masks(tmp_path / "out", method, "ear"), read_meshes(tmp_path / "out", method, "ear")
    assert meshes.keys() == segmentation.meshes_ras.keys()
    for name, surface in segmentation.meshes_ras.items():
        expected = surface.transformed(np.linalg.inv(CROP_AFFINE), "ijk")
        np.testing.assert_allclose(meshes[name].vertices, expected.vertices, atol=1e-4)
        np.testing.assert_array_equal(meshes[name].triangles, expected.triangles)
        assert meshes[name].signed_volume > 0
    for name, mask in patient_masks(segmentation).items():
        found = np.asarray(masks[name].dataobj)
        assert found.dtype == np.uint8
        assert found.any()
        # Halves and levels that rounding decides may fall on either side.
        assert np.count_nonzero(found != mask) <= 2
        np.testing.assert_allclose(masks[name].affine, CROP_AFFINE, atol=1e-6)


def test_registration_and_segmentation_tell_maps_that_cannot_be_theirs(tmp_path: Path) -> None:
    for write in (write_registration_bundle, write_segmentation_bundle):
        predictor = predictor_of_bundle(load_bundle(write(tmp_path, write.__name__)), CPU)
        predictor.check_shape((4, 28, 32, 36))
        for shape in ((5, 28, 32, 36), (4, 32, 28, 36), (28, 32, 36, 4), (28, 32, 36), (4, 28, 32, 36, 1)):
            with pytest.raises(ReleaseError, match="4 x 28 x 32 x 36, channels first"):
                predictor.check_shape(shape)
        assert isinstance(predictor, RegistrationMaps | SegmentationMaps)
        run = predictor.field if isinstance(predictor, RegistrationMaps) else predictor.probability
        with pytest.raises(RunError, match="finite"):
            run(np.full((4, 28, 32, 36), np.inf, np.float32))


def test_bundles_without_published_maps_are_refused(tmp_path: Path) -> None:
    wild = write_registration_bundle(tmp_path, "wild", method="../chamfer")
    for path in (find_bundle("cochlea-ct-v2"), wild):
        with pytest.raises(BundleError, match="import-release"):
            predictor_of_bundle(load_bundle(path), CPU)


def test_fingerprint_tells_networks_and_methods_of_reading_apart(tmp_path: Path) -> None:
    one, same = (
        predictor_of_bundle(load_bundle(write_registration_bundle(tmp_path, name)), CPU).fingerprint for name in "ab"
    )
    assert one == same
    other = predictor_of_bundle(load_bundle(write_segmentation_bundle(tmp_path, "c")), CPU).fingerprint
    assert one != other


@torch.no_grad()
def test_maps_of_other_weights_are_refused() -> None:
    """More channels than the 27 values a convolution sees: then most maps cannot be its output."""
    grid = (8, 10, 12)
    ear, atlas = formula_values("ear", (1, 1, *grid), 0.9), formula_values("atlas", (1, 1, *grid), 0.9)
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(
            (PublishedSegNet(base_width=32).eval(), PublishedRegistrationNet(base_width=32, levels=1).eval())
        )
    (segnet, registration), (other_segnet, other_registration) = networks
    masks = SegmentationMaps(
        segnet, STRUCTURE_IDS, method="segnet", spacing_mm=0.2, grid=grid, pieces="all", device=CPU
    )
    carried = RegistrationMaps(
        registration,
        {LABYRINTH.id: sphere((4, 5, 6), 2.0)},
        method="p2p",
        spacing_mm=0.2,
        grid=grid,
        sampler="published",
        device=CPU,
        atlas_input=atlas[0].numpy(),
    )
    masks.predict(segnet.encoder_upper.first(ear)[0].numpy())
    carried.predict(registration.first_activation(ear, atlas)[0].numpy())
    with pytest.raises(ReleaseError, match="does not come from these weights"):
        masks.predict(other_segnet.encoder_upper.first(ear)[0].numpy())
    for wrong in (other_registration.first_activation(ear, atlas), registration.first_activation(ear, -atlas)):
        with pytest.raises(ReleaseError, match="does not come from these weights"):
            carried.predict(wrong[0].numpy())


@pytest.mark.parametrize(
    ("method", "experiment"),
    [("chamfer", "Exp_task16-kcl-chamfer-reg4p0-post_1"), ("p2p", "Exp_task06-kcl-p2p-reg4p0-post_1")],
)
def test_published_vertices(tmp_path: Path, method: str, experiment: str) -> None:
    release = shared_path("release")
    atlas = release / "data" / "atlas"
    bundle = import_release(release / "checkpoints" / experiment, atlas, method=method, name="a", to=tmp_path)
    maps = (tmp_path / "maps", release / "data" / "activation_maps")
    maps[0].mkdir()
    for name in ("chamfer", "p2p"):
        (maps[0] / f"{name}.nii.gz").symlink_to(maps[1] / name / "case01.nii.gz")
    mixed = reproduced(bundle, maps[0], tmp_path / "mixed")
    assert mixed.done == [method]
    assert "these weights" in str(*mixed.failed.values())
    reproduced(bundle, maps[1], tmp_path)
    meshes = read_meshes(tmp_path, method, "case01")
    assert tuple(meshes) == STRUCTURE_IDS
    with np.load(release / "expected.npz") as expected:
        vertices = np.concatenate([mesh.vertices for mesh in meshes.values()])
        np.testing.assert_allclose(vertices, expected[f"{method}_vertices"], atol=1e-4)


def test_published_masks(tmp_path: Path) -> None:
    release = shared_path("release")
    experiment = release / "checkpoints" / "Exp_shared_skip_unet_cochlear_post_1"
    bundle = import_release(experiment, release / "data" / "atlas", method="segnet", name="s", to=tmp_path)
    reproduced(bundle, release / "data" / "activation_maps", tmp_path)
    masks, meshes = read_masks(tmp_path, "segnet", "case01"), read_meshes(tmp_path, "segnet", "case01")
    with np.load(release / "expected.npz") as expected:
        logits = torch.from_numpy(expected["segnet_logits"])
    for channel, name in enumerate(STRUCTURE_IDS):
        published = (torch.sigmoid(logits[channel]) > 0.5).numpy()
        np.testing.assert_array_equal(np.asarray(masks[name].dataobj), published)
        assert (name in meshes) == published.any()
