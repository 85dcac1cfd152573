"""From the published files to a bundle that gives the published predictions."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from release_fixtures import GRID, TinyRelease, save_nifti, surfaces, write_atlas_image, write_release
from support import shared_path

from model.bundle import find_bundle, load_bundle
from model.errors import BundleError, OptionError, ReleaseError
from model.meshes.published import encode_published
from model.networks.registry import load_network
from model.registration.warp import warp_vertices
from model.release.atlas_files import read_release_meshes
from model.release.image_files import read_release_image
from model.release.importer import import_release
from model.release.torch_file import read_state_dict
from model.segmentation import Segmenter

MAP = "atlas_activation_map_chamfer.nii.gz"


@pytest.fixture
def release(tmp_path: Path) -> TinyRelease:
    return write_release(tmp_path)


def imported(release: TinyRelease, method: str = "chamfer") -> Path:
    """Import the tiny release."""
    to = release.folder / "to"
    return import_release(release.checkpoint(method), release.atlas, method=method, name=f"tiny-{method}", to=to)


def test_bundle_states_what_the_release_holds(release: TinyRelease) -> None:
    bundle = load_bundle(imported(release))
    assert bundle.manifest.network.parameters == {"base_width": 4, "levels": 2}
    assert bundle.manifest.network.input.atlas == "activation"
    assert bundle.frame.grid == GRID
    assert (bundle.sampler, bundle.intensity.rule) == ("published", "min_max")
    assert any("held within -1024 and 3071 HU" in limit for limit in bundle.manifest.limits)
    assert any("middle of the canonical" in limit for limit in bundle.manifest.limits)
    assert bundle.manifest.training.details == {"method": "chamfer"}
    vertices = np.concatenate([mesh.vertices for mesh in bundle.atlas_meshes_ijk.values()])
    np.testing.assert_array_equal(vertices.astype(np.float32), release.vertices)


def test_landmarks_keep_their_distance_from_the_middle_of_the_crop(release: TinyRelease) -> None:
    found = load_bundle(imported(release)).frame.landmarks_ijk
    for name, canonical in load_bundle(find_bundle("cochlea-ct-v2")).frame.landmarks_ijk.items():
        from_middle = np.array(canonical) - (128 - 1) / 2
        np.testing.assert_allclose(np.array(found[name]) - (np.array(GRID) - 1) / 2, from_middle, atol=1e-9)
    assert found["RW"][2] < 0  # of a crop this small they lie outside


def test_all_surfaces_are_turned_outward(release: TinyRelease) -> None:
    meshes = load_bundle(imported(release)).atlas_meshes_ijk
    for mesh, made in zip(meshes.values(), surfaces().values(), strict=True):
        assert mesh.signed_volume == pytest.approx(made.signed_volume, rel=1e-5)


def test_activation_and_image_give_the_same_vertices(release: TinyRelease) -> None:
    patient = torch.from_numpy(release.patient)[None, None]
    write_atlas_image(release)
    for method, channels in (("chamfer", 4), ("p2p", 1), ("dice", 1)):
        bundle = load_bundle(imported(release, method))
        assert bundle.atlas_input().shape == (channels, *GRID)
        with torch.no_grad():
            ddf = load_network(bundle)(patient, torch.from_numpy(bundle.atlas_input())[None])[0]
        np.testing.assert_allclose(ddf, release.ddf, atol=1e-4)
        moved = warp_vertices(torch.from_numpy(release.vertices), ddf, bundle.sampler).numpy()
        np.testing.assert_allclose(moved, release.expected, atol=1e-4)


def test_a_method_whose_atlas_is_not_published_takes_activation_maps_only(release: TinyRelease) -> None:
    bundle = load_bundle(imported(release, "p2p"))
    assert set(bundle.manifest.files) == {"weights.safetensors", "atlas.npz"}
    assert bundle.frame.grid == GRID
    assert "activation maps of cases only" in bundle.manifest.limits[0]
    assert len(bundle.atlas_meshes_ijk) == 4
    for ask in (bundle.atlas_input, bundle.atlas_image, lambda: Segmenter(bundle, "cpu")):
        with pytest.raises(BundleError, match="activation maps only"):
            ask()
    atlas = torch.from_numpy(read_release_image(release.atlas / MAP))[None]
    network: Any = load_network(bundle)
    with torch.no_grad():
        both = network.first_activation(torch.from_numpy(release.patient)[None, None], atlas)
        np.testing.assert_allclose(network.field_from_activation(both)[0], release.ddf, atol=1e-4)


def test_progress_runs_to_the_end(release: TinyRelease) -> None:
    told: list[tuple[str, float]] = []
    import_release(
        release.checkpoint("chamfer"),
        release.atlas,
        method="chamfer",
        name="tiny",
        to=release.folder / "to",
        progress=lambda text, fraction: told.append((text, fraction)),
    )
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_unknown_methods_and_names_are_refused(release: TinyRelease) -> None:
    checkpoint, to = release.checkpoint("chamfer"), release.folder / "to"
    for method in ("Chamfer", "nnunet", "../chamfer", ""):
        with pytest.raises(OptionError, match="chamfer or p2p or dice or segnet"):
            import_release(checkpoint, release.atlas, method=method, name="tiny", to=to)
    for name in ("", "../tiny", "a b", ".tiny", "x" * 65):
        with pytest.raises(OptionError, match="name of the bundle"):
            import_release(checkpoint, release.atlas, method="chamfer", name=name, to=to)
    assert not to.exists()


def rewrite_state(release: TinyRelease, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the published weights."""
    path = release.checkpoint("chamfer")
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].pop("up1_bn2.weight"), "incomplete"),
        (lambda c: c["model"].update({"dp2_conv2.weight": torch.zeros(8, 8, 3, 3, 1)}), "encoders.1.second.conv"),
        (lambda c: c["model"].update({"dp1_conv1.weight": torch.zeros(4)}), "5 dimensions"),
        (lambda c: c["model"].update({"dp1_conv2.bias": torch.full((4,), torch.nan)}), "NaN"),
        (lambda c: c["model"].update({"fc.weight": torch.zeros(1)}), "fc.weight"),
        (lambda c: c["model"].clear(), "tensors"),
        (lambda c: c.pop("model"), "tensors"),
        (lambda c: c.update(model={"conv11.weight": torch.zeros(1)}), "another network"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    release: TinyRelease, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite_state(release, change)
    with pytest.raises(ReleaseError, match=message):
        imported(release)
    assert not (release.folder / "to").exists()


def test_weights_of_the_other_kind_of_network_are_refused(release: TinyRelease) -> None:
    for method, other in (("chamfer", "segnet"), ("segnet", "chamfer")):
        with pytest.raises(ReleaseError, match="another network"):
            import_release(
                release.checkpoint(other), release.atlas, method=method, name="tiny", to=release.folder / "to"
            )


def with_header(content: bytes, sizes: tuple[int, ...]) -> bytes:
    """Give a gzipped NIfTI file whose header claims other sizes."""
    raw = bytearray(gzip.decompress(content))
    struct.pack_into(f"<{len(sizes) + 1}h", raw, 40, len(sizes), *sizes)
    return gzip.compress(bytes(raw), 1)


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def vertices_with(release: TinyRelease, change: Callable[[Any], Any]) -> None:
    """Change the array of all vertices."""
    (release.atlas / "atlas_all_vtx.pkl").write_bytes(pickle.dumps(change(release.vertices.copy())))


def with_nan(values: Any) -> Any:  # noqa: ANN401
    values[3, 1] = np.nan
    return values


def rewritten(release: TinyRelease, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file of the atlas."""
    path = release.atlas / name
    path.write_bytes(change(path.read_bytes()))


def shorter_mesh(release: TinyRelease) -> None:
    """Put a sphere of more vertices in the place of the modiolus."""
    larger = surfaces()["MD"]
    more = np.concatenate([larger.vertices, larger.vertices[:1]])
    mesh = type(larger)(more, larger.triangles, "ijk")
    (release.atlas / "atlas_MD.mesh").write_bytes(encode_published(mesh, colour=(1, 2, 3)))


DAMAGE: dict[str, tuple[Callable[[TinyRelease], object], str]] = {
    "no checkpoint": (lambda r: r.checkpoint("chamfer").unlink(), r"best\.pth"),
    "empty checkpoint": (lambda r: r.checkpoint("chamfer").write_bytes(b""), r"best\.pth"),
    "cut checkpoint": (
        lambda r: r.checkpoint("chamfer").write_bytes(halved(r.checkpoint("chamfer").read_bytes())),
        r"best\.pth",
    ),
    "no atlas folder": (lambda r: r.atlas.rename(r.folder / "elsewhere"), "data/atlas"),
    "no mesh": (lambda r: (r.atlas / "atlas_ST.mesh").unlink(), r"missing; expected atlas_ST\.mesh"),
    "cut mesh": (lambda r: rewritten(r, "atlas_CC.mesh", halved), r"atlas_CC\.mesh cannot be read.*bytes"),
    "NaN in a mesh": (
        lambda r: rewritten(r, "atlas_SV.mesh", lambda b: b[:28] + np.float32(np.nan).tobytes() + b[32:]),
        r"atlas_SV\.mesh.*finite",
    ),
    "no vertices": (lambda r: (r.atlas / "atlas_all_vtx.pkl").unlink(), r"missing; expected atlas_all_vtx\.pkl"),
    "cut vertices": (lambda r: rewritten(r, "atlas_all_vtx.pkl", halved), r"atlas_all_vtx\.pkl"),
    "too few vertices": (lambda r: vertices_with(r, lambda v: v[:-1]), r"168 vertices \(42, 42, 42, 42\)"),
    "a mesh of another count": (shorter_mesh, r"169 vertices \(43, 42, 42, 42\)"),
    "reordered vertices": (lambda r: vertices_with(r, lambda v: np.roll(v, 1, axis=0)), "modiolus differ.*same order"),
    "vertices of another axis order": (lambda r: vertices_with(r, lambda v: v[:, ::-1]), "differ"),
    "NaN in the vertices": (lambda r: vertices_with(r, with_nan), r"atlas_all_vtx\.pkl.*finite"),
    "no map": (lambda r: (r.atlas / MAP).unlink(), rf"expected {MAP} or atlas\.nii\.gz"),
    "cut map": (lambda r: rewritten(r, MAP, halved), MAP),
    "map of more channels": (
        lambda r: save_nifti(r.atlas / MAP, np.ones((5, *GRID), np.float32)),
        "4 channels first.*5, 28, 32, 40",
    ),
    "map without channels": (lambda r: save_nifti(r.atlas / MAP, np.ones(GRID, np.float32)), "4 channels first"),
    "map of a grid that cannot be halved": (
        lambda r: save_nifti(r.atlas / MAP, np.ones((4, 28, 30, 40), np.float32)),
        "multiples of 4",
    ),
    "map of a smaller grid": (
        lambda r: save_nifti(r.atlas / MAP, np.ones((4, 16, 16, 16), np.float32)),
        "leave the crop",
    ),
    "NaN in the map": (lambda r: save_nifti(r.atlas / MAP, np.full((4, *GRID), np.nan, np.float32)), f"{MAP}.*finite"),
    "map of absurd size": (lambda r: rewritten(r, MAP, lambda b: with_header(b, (4, 1024, 1024, 1024))), "too large"),
    "map of absurd dimensions": (
        lambda r: rewritten(r, MAP, lambda b: with_header(b, (4, 32767, 9, 9))),
        "at most 1024",
    ),
    "map that claims more than it holds": (
        lambda r: rewritten(r, MAP, lambda b: with_header(b, (4, 256, 256, 512))),
        f"{MAP} cannot be read",
    ),
}


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_missing_and_mismatched_files_are_named(release: TinyRelease, damage: str) -> None:
    do, message = DAMAGE[damage]
    do(release)
    with pytest.raises(ReleaseError, match=message):
        imported(release)
    assert not (release.folder / "to").exists()


def test_an_atlas_image_of_other_voxels_is_refused(release: TinyRelease) -> None:
    write_atlas_image(release)
    (release.atlas / MAP).unlink()
    imported(release)
    image = read_release_image(release.atlas / "atlas.nii.gz")
    save_nifti(release.atlas / "atlas.nii.gz", image, np.diag([-0.3, -0.3, 0.3, 1.0]))
    with pytest.raises(ReleaseError, match=r"0\.2 mm; found 0\.3"):
        imported(release, "dice")
    save_nifti(release.atlas / "atlas.nii.gz", np.full(GRID, 7, np.float32))
    with pytest.raises(ReleaseError, match="different values"):
        imported(release, "dice")


def test_a_folder_stands_for_its_best_weights(release: TinyRelease) -> None:
    path = release.checkpoint("chamfer")
    assert set(read_state_dict(path.parents[1])) == set(read_state_dict(path))
    with pytest.raises(ReleaseError, match=r"checkpoints/best\.pth"):
        read_state_dict(path.parent)


@pytest.mark.parametrize(
    ("method", "experiment"),
    [("chamfer", "Exp_task16-kcl-chamfer-reg4p0-post_1"), ("p2p", "Exp_task06-kcl-p2p-reg4p0-post_1")],
)
def test_imported_bundle_gives_the_published_predictions(tmp_path: Path, method: str, experiment: str) -> None:
    folder = shared_path("release")
    atlas = folder / "data" / "atlas"
    path = import_release(folder / "checkpoints" / experiment, atlas, method=method, name=method, to=tmp_path)
    bundle = load_bundle(path)
    patient = torch.from_numpy(read_release_image(folder / "ear.nii.gz"))[None, None]
    with torch.no_grad():
        ddf = load_network(bundle)(patient, torch.from_numpy(bundle.atlas_input())[None])[0]
    vertices = np.concatenate([mesh.vertices for mesh in bundle.atlas_meshes_ijk.values()])
    found = warp_vertices(torch.from_numpy(vertices), ddf, bundle.sampler).numpy()
    with np.load(folder / "expected.npz") as expected:
        np.testing.assert_allclose(ddf.numpy(), expected[f"{method}_ddf"], atol=1e-4)
        np.testing.assert_allclose(found, expected[f"{method}_vertices"], atol=1e-4)


def test_the_map_of_another_method_is_noticed(tmp_path: Path) -> None:
    folder = shared_path("release")
    checkpoint = folder / "checkpoints" / "Exp_task06-kcl-p2p-reg4p0-post_1"
    with pytest.raises(ReleaseError, match="checkpoint and method belong together"):
        import_release(checkpoint, folder / "data" / "atlas", method="chamfer", name="mixed", to=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_meshes_of_the_release_are_closed_and_outward() -> None:
    meshes = read_release_meshes(shared_path("release/data/atlas"))
    assert [len(mesh.vertices) for mesh in meshes.values()] == [162, 162, 162, 642]
    assert all(mesh.signed_volume > 0 for mesh in meshes.values())
