"""The ways to segment that need no registration library, on synthetic ears of both sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ear_fixtures import mean_error_mm, read_truth, request_of

from model.bundle import Bundle, load_bundle
from model.errors import InputError, UnknownBundleError
from model.geometry.landmarks import Side
from model.methods.choose import choose_method, choose_methods
from model.methods.network import Network
from model.methods.placed import Rigid, Unaligned
from model.request import check_request
from model.segmentation import Segmenter
from model.structures import STRUCTURE_IDS
from model.volumes.write import write_nifti

SIDES: tuple[Side, ...] = ("left", "right")


@pytest.mark.parametrize("side", SIDES)
def test_unaligned_only_shifts_the_landmarks_onto_the_patients(
    shipped_bundle: Bundle, synthetic_ears: dict[Side, Path], side: Side
) -> None:
    result = Unaligned(shipped_bundle).segment(request_of(synthetic_ears[side], shipped_bundle))
    marked = json.loads((synthetic_ears[side] / "landmarks.json").read_text())["landmarks"]
    frame = shipped_bundle.frame
    # From canonical voxels to RAS: L and P change sign, and L once more where the ear is mirrored.
    axes = np.array([-0.2 if side == "left" else 0.2, -0.2, 0.2])
    centre_ras = np.mean([marked[name] for name in frame.landmarks_ijk], axis=0)
    centre_ijk = np.mean(list(frame.landmarks_ijk.values()), axis=0)
    assert set(result.meshes_ras) == set(STRUCTURE_IDS)
    for name, mesh in result.meshes_ras.items():
        expected = (shipped_bundle.atlas_meshes_ijk[name].vertices - centre_ijk) * axes + centre_ras
        assert np.allclose(mesh.vertices, expected, atol=1e-3)
        assert mesh.signed_volume > 0
    assert result.ddf_ijk is None


def test_a_prepared_crop_shows_the_atlas_as_it_lies(shipped_bundle: Bundle, tmp_path: Path) -> None:
    write_nifti(tmp_path / "crop.nii.gz", shipped_bundle.atlas_image(), shipped_bundle.frame.affine_ras)
    request = check_request(tmp_path / "crop.nii.gz", landmarks=None, side="left", frame=shipped_bundle.frame)
    for method in (Unaligned(shipped_bundle), Rigid(shipped_bundle)):
        for name, mesh in method.segment(request).meshes_ras.items():
            expected = shipped_bundle.atlas_meshes_ijk[name].vertices * [-0.2, -0.2, 0.2]
            assert np.allclose(mesh.vertices, expected)


@pytest.mark.parametrize("side", SIDES)
def test_rigid_is_what_the_segmenter_gives_without_deformation(
    shipped_bundle: Bundle, synthetic_ears: dict[Side, Path], side: Side
) -> None:
    request = request_of(synthetic_ears[side], shipped_bundle)
    result = Rigid(shipped_bundle).segment(request)
    expected = Segmenter(shipped_bundle, "cpu").run(request, deform=False)
    for name, mesh in expected.meshes_ras.items():
        assert np.allclose(result.meshes_ras[name].vertices, mesh.vertices, atol=1e-4)
        assert np.array_equal(result.meshes_ras[name].triangles, mesh.triangles)
    assert result.ddf_ijk is not None
    assert not result.ddf_ijk.any()


def test_each_step_brings_the_atlas_nearer(quick_bundle_path: Path, synthetic_ears: dict[Side, Path]) -> None:
    bundle = load_bundle(quick_bundle_path)
    truth = read_truth(synthetic_ears["right"])
    request = request_of(synthetic_ears["right"], bundle)
    methods = choose_methods(["none", "rigid", f"{quick_bundle_path}:network", str(quick_bundle_path)], bundle, "cpu")
    results = [method.segment(request) for method in methods]
    errors = [mean_error_mm(result.meshes_ras["labyrinth"], truth["labyrinth"]) for result in results]
    assert errors[0] > errors[1] > errors[2] > 0.05
    assert results[2].ddf_ijk is not None
    assert results[3].ddf_ijk is not None
    assert 0 < np.abs(results[2].ddf_ijk - results[3].ddf_ijk).max() < 5, "the refinement follows the network"
    assert len({method.digest for method in methods}) == 4


def test_a_digest_stands_for_the_model_and_not_for_its_name(shipped_bundle: Bundle, quick_bundle_path: Path) -> None:
    quick = load_bundle(quick_bundle_path)
    assert Network(shipped_bundle, "a", refine=True).digest == Network(shipped_bundle, "b", refine=True).digest
    assert Network(shipped_bundle, "a", refine=True).digest != Network(quick, "a", refine=True).digest
    assert Rigid(shipped_bundle).digest != Rigid(quick).digest


def test_unknown_and_doubled_methods_are_refused(shipped_bundle: Bundle) -> None:
    with pytest.raises(UnknownBundleError):
        choose_method("nothing-of-that-name", shipped_bundle)
    with pytest.raises(InputError, match="BUNDLE:network"):
        choose_method(f"{shipped_bundle.path}:refined", shipped_bundle)
    with pytest.raises(InputError, match="found rigid"):
        choose_methods(["rigid", "none", "rigid"], shipped_bundle)
