"""Bundles on disk: what is written is read back, and what is not as declared is refused by name."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_fixtures import describe, sphere, sphere_atlas, write_sphere_bundle
from published_case import GRID, make_images
from safetensors.numpy import save

from model.bundle import (
    BundleDescription,
    add_files,
    check_takes_images,
    load_bundle,
    read_manifest,
    verify_bundle,
    write_bundle,
)
from model.bundle.schema import NetworkInput
from model.errors import BundleError, DamagedBundleError, MeshError
from model.meshes.mesh import SurfaceMesh


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A sound bundle."""
    return write_sphere_bundle(tmp_path, "spheres")


def change_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit the manifest."""
    document = json.loads((path / "bundle.json").read_text())
    change(document)
    (path / "bundle.json").write_text(json.dumps(document))


def replace_file(path: Path, name: str, content: bytes) -> None:
    """Replace a file and mend its digest, so that only its content is at fault."""
    (path / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    change_manifest(path, lambda document: document["files"].update({name: digest}))


def rewrite_arrays(path: Path, name: str, **changed: Any) -> None:  # noqa: ANN401
    """Change or add arrays of an npz file; None takes one away."""
    with np.load(path / name) as arrays:
        values = {**dict(arrays), **changed}
    scratch = path.parent / "scratch.npz"
    np.savez(scratch, **{key: value for key, value in values.items() if value is not None})
    replace_file(path, name, scratch.read_bytes())


def test_load_gives_what_was_written(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert (loaded.name, loaded.version, loaded.sampler) == ("spheres", "1.2.0", "trilinear")
    assert loaded.frame.grid == GRID
    assert loaded.frame.landmarks_ijk["RW"] == (3.0, 4.0, 5.0)
    assert loaded.intensity.rule == "as_stored"
    np.testing.assert_array_equal(loaded.atlas_image(), make_images()[1][0, 0].numpy())
    written = sphere_atlas()
    assert list(loaded.atlas_meshes_ijk) == list(written)
    for name, mesh in loaded.atlas_meshes_ijk.items():
        np.testing.assert_allclose(mesh.vertices, written[name].vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.triangles, written[name].triangles)
        assert set(mesh.point_data) == set(written[name].point_data)
    angle = loaded.atlas_meshes_ijk["scala_vestibuli"].point_data["angle_deg"]
    np.testing.assert_array_equal(angle, written["scala_vestibuli"].point_data["angle_deg"])


def test_digest_is_that_of_the_manifest(bundle: Path) -> None:
    assert load_bundle(bundle).digest == hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()


def test_manifest_counts_and_digests_every_file(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert set(manifest.files) == {entry.name for entry in bundle.iterdir()} - {"bundle.json"}
    assert [(s.code, s.vertices, s.triangles) for s in manifest.structures] == [
        ("MD", 42, 80),
        ("ST", 42, 80),
        ("SV", 42, 80),
        ("CC", 162, 320),
    ]
    assert json.loads((bundle / "bundle.json").read_text())["network"]["class"] == "published_registration"


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_sphere_bundle(tmp_path / "a", "spheres")
    second = write_sphere_bundle(tmp_path / "b", "spheres")
    assert (first / "bundle.json").read_bytes() == (second / "bundle.json").read_bytes()


def test_activation_instead_of_image(tmp_path: Path) -> None:
    description = describe("activation")
    network = description.network.model_copy(update={"input": NetworkInput(atlas="activation")})
    activation = np.arange(4 * np.prod(GRID), dtype=np.float32).reshape(4, *GRID)
    write_bundle(
        tmp_path / "activation",
        description.model_copy(update={"network": network}),
        weights={"a": np.zeros(3, np.float32)},
        atlas_meshes_ijk=sphere_atlas(),
        atlas_input=activation,
    )
    loaded = load_bundle(tmp_path / "activation")
    np.testing.assert_array_equal(loaded.atlas_input(), activation)
    with pytest.raises(BundleError, match="atlas image"):
        loaded.atlas_image()


def test_an_atlas_whose_image_is_withheld(tmp_path: Path) -> None:
    description = describe("withheld")
    network = description.network.model_copy(update={"input": NetworkInput(atlas="withheld")})
    withheld = description.model_copy(update={"network": network})
    weights = {"a": np.zeros(3, np.float32)}
    with pytest.raises(BundleError, match="without its input"):
        write_bundle(
            tmp_path / "withheld",
            withheld,
            weights=weights,
            atlas_meshes_ijk=sphere_atlas(),
            atlas_input=np.zeros(GRID, np.float32),
        )
    write_bundle(tmp_path / "withheld", withheld, weights=weights, atlas_meshes_ijk=sphere_atlas())
    loaded = load_bundle(tmp_path / "withheld")
    assert set(loaded.manifest.files) == {"weights.safetensors", "atlas.npz"}
    assert list(loaded.atlas_meshes_ijk) == list(sphere_atlas())
    for ask in (loaded.atlas_input, loaded.atlas_image, lambda: check_takes_images(loaded.manifest)):
        with pytest.raises(BundleError, match="activation maps only"):
            ask()
    (tmp_path / "withheld" / "atlas.npz").unlink()
    with pytest.raises(DamagedBundleError, match=r"atlas\.npz"):
        verify_bundle(tmp_path / "withheld")


def describe_without_atlas() -> BundleDescription:
    """Describe a segmentation network."""
    document = describe("masks").model_dump(by_alias=True)
    document["network"] = {"class": "segnet", "input": {"atlas": "none"}}
    return BundleDescription.model_validate({**document, "segmentation": {"pieces": "all"}})


def test_a_bundle_without_atlas(tmp_path: Path) -> None:
    weights = {"a": np.zeros(3, np.float32)}
    structures = ("scala_tympani", "labyrinth")
    write_bundle(tmp_path / "masks", describe_without_atlas(), weights=weights, structures=structures)
    loaded = load_bundle(tmp_path / "masks")
    assert loaded.structure_ids == structures
    assert set(loaded.manifest.files) == {"weights.safetensors"}
    assert [(part.code, part.vertices, part.triangles) for part in loaded.manifest.structures] == [
        ("ST", None, None),
        ("CC", None, None),
    ]
    for ask in (lambda: loaded.atlas_meshes_ijk, loaded.atlas_input, loaded.atlas_image):
        with pytest.raises(BundleError, match="no atlas"):
            ask()
    add_files(tmp_path / "masks", {"README.md": b"# Masks"})
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        add_files(tmp_path / "masks", {"weights.safetensors": b""})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(segmentation=None), "segmentation"),
        (lambda d: d["network"]["input"].update(atlas="image"), "segmentation"),
        (lambda d: d.update(refinement={}), "refinement"),
        (lambda d: d["segmentation"].update(pieces="most"), "pieces"),
        (lambda d: d["structures"][0].update(vertices=4), "structures"),
    ],
)
def test_a_manifest_of_neither_kind_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    weights = {"a": np.zeros(3, np.float32)}
    write_bundle(tmp_path / "masks", describe_without_atlas(), weights=weights, structures=["labyrinth"])
    change_manifest(tmp_path / "masks", change)
    with pytest.raises(DamagedBundleError, match=message):
        verify_bundle(tmp_path / "masks")


def test_parts_of_the_other_kind_are_not_written(tmp_path: Path) -> None:
    weights, image = {"a": np.zeros(3, np.float32)}, np.zeros(GRID, np.float32)
    wrong: list[dict[str, Any]] = [{}, {"structures": ["labyrinth"], "atlas_input": image}]
    for parts in wrong:
        with pytest.raises(BundleError, match="no atlas"):
            write_bundle(tmp_path / "masks", describe_without_atlas(), weights=weights, **parts)
    with pytest.raises(BundleError, match="surfaces and input"):
        write_bundle(tmp_path / "spheres", describe("spheres"), weights=weights, atlas_input=image)
    assert list(tmp_path.iterdir()) == []


def test_reading_bundles_does_not_import_torch() -> None:
    code = "import sys, model.bundle; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["weights.safetensors", "atlas.npz", "atlas_image.npz", "README.md"])
def test_one_changed_byte_is_found(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(DamagedBundleError, match=f"{name}.*SHA-256"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["weights.safetensors", "atlas.npz", "atlas_image.npz", "README.md", "bundle.json"])
def test_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(DamagedBundleError, match=f"{name}.*missing"):
        load_bundle(bundle)


def test_error_does_not_echo_the_folder(bundle: Path) -> None:
    (bundle / "atlas.npz").unlink()
    with pytest.raises(DamagedBundleError) as caught:
        load_bundle(bundle)
    assert str(bundle.parent) not in str(caught.value)
    assert caught.value.field == "bundle"


def test_further_file_is_refused(bundle: Path) -> None:
    (bundle / "code.py").write_text("")
    with pytest.raises(DamagedBundleError, match=r"code\.py"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", "..", ".hidden", "a\\b", "", "bundle.json"])
def test_file_names_that_leave_the_folder_are_refused(bundle: Path, name: str) -> None:
    change_manifest(bundle, lambda document: document["files"].update({name: "0" * 64}))
    with pytest.raises(DamagedBundleError, match=r"bundle\.json"):
        verify_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(colour="red"), "colour"),
        (lambda d: d["network"].update(klass="x"), "klass"),
        (lambda d: d.update(schema_version=2), "schema_version"),
        (lambda d: d.pop("licence"), "licence"),
        (lambda d: d["frame"].update(axes="RAS"), "axes"),
        (lambda d: d["frame"].update(spacing_mm=0), "spacing_mm"),
        (lambda d: d["frame"]["landmarks_ijk"].update(X=[1, 2, 3]), "landmarks"),
        (lambda d: d.update(intensity={"rule": "hu_window", "low": 5, "high": 5}), "low < high"),
        (lambda d: d.update(sampler="nearest"), "sampler"),
        (lambda d: d["structures"][0].update(id="liver"), "liver"),
        (lambda d: d["structures"][0].update(code="ST"), "structures"),
        (lambda d: d["structures"].append(d["structures"][0]), "structures"),
        (lambda d: d["files"].pop("atlas.npz"), "atlas.npz"),
        (lambda d: d["structures"][0].update(vertices=None), "vertices"),
        (lambda d: d.update(segmentation={}), "segmentation"),
        (lambda d: d.update(name="../up"), "name"),
    ],
)
def test_manifest_that_breaks_the_schema_is_refused(
    bundle: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_manifest(bundle, change)
    with pytest.raises(DamagedBundleError, match=message):
        verify_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": NaN}'])
def test_manifest_that_is_no_json_object_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "bundle.json").write_bytes(content)
    with pytest.raises(DamagedBundleError, match=r"bundle\.json"):
        verify_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("atlas.npz", {"vertices_ijk": np.zeros((287, 3), np.float32)}, "287 x 3"),
        ("atlas.npz", {"vertices_ijk": np.zeros((288, 3), np.float64)}, "float64"),
        ("atlas.npz", {"triangles": np.zeros((560, 4), np.int32)}, "560 x 4"),
        ("atlas.npz", {"triangles": None}, "triangles"),
        ("atlas.npz", {"frequency_hz": np.zeros(7, np.float32)}, "frequency_hz"),
        ("atlas.npz", {"vertices_ijk": np.full((288, 3), np.nan, np.float32)}, "finite"),
        ("atlas.npz", {"triangles": np.full((560, 3), 287, np.int32)}, "another structure"),
        ("atlas.npz", {"vertices_ijk": np.array([{"a": 1}])}, "object"),
        ("atlas_image.npz", {"values": np.zeros(GRID[::-1], np.float32)}, "16 x 12 x 8"),
        ("atlas_image.npz", {"values": np.zeros(GRID, np.int16)}, "int16"),
        ("atlas_image.npz", {"more": np.zeros(3, np.float32)}, "more"),
    ],
)
def test_array_that_does_not_fit_is_named(bundle: Path, name: str, arrays: dict[str, Any], message: str) -> None:
    rewrite_arrays(bundle, name, **arrays)
    with pytest.raises(DamagedBundleError, match=f"{name}.*{message}"):
        load_bundle(bundle)


def test_weights_of_another_number_or_size_are_refused(bundle: Path) -> None:
    replace_file(bundle, "weights.safetensors", save({"a": np.zeros((3, 5), np.float32)}))
    with pytest.raises(DamagedBundleError, match=r"weights\.safetensors.*1 of 15"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["weights.safetensors", "atlas.npz", "atlas_image.npz"])
def test_file_of_another_format_is_refused(bundle: Path, name: str) -> None:
    replace_file(bundle, name, b"no such format")
    with pytest.raises(DamagedBundleError, match=f"{name}.*format"):
        verify_bundle(bundle)


def write(path: Path, **changed: Any) -> None:  # noqa: ANN401
    """Write a bundle with some arguments changed."""
    arguments: dict[str, Any] = {
        "weights": {"a": np.zeros(3, np.float32)},
        "atlas_meshes_ijk": sphere_atlas(),
        "atlas_input": np.zeros(GRID, np.float32),
    }
    write_bundle(path, describe("spheres"), **{**arguments, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"atlas_input": np.zeros((4, 4, 4), np.float32)},
        {"atlas_input": np.full(GRID, np.nan, np.float32)},
        {"weights": {"a": np.array([np.inf], np.float32)}},
        {"extra_files": {"../outside": b""}},
        {"extra_files": {"folder/file": b""}},
        {"atlas_meshes_ijk": {"labyrinth": sphere((3, 5, 7), 2).flipped()}},
        {"atlas_meshes_ijk": {"labyrinth": SurfaceMesh(np.eye(3), np.array([[0, 1, 2]]), "ras")}},
    ],
)
def test_nothing_is_left_when_writing_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises((BundleError, MeshError)):
        write(tmp_path / "spheres", **changed)
    assert list(tmp_path.iterdir()) == []


def test_earlier_bundle_is_replaced_only_when_asked(bundle: Path) -> None:
    before = (bundle / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="exists"):
        write(bundle)
    assert (bundle / "bundle.json").read_bytes() == before
    write(bundle, replace=True)
    assert verify_bundle(bundle).weights.values == 3
    assert [entry.name for entry in bundle.parent.iterdir()] == ["spheres"]


def test_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "spheres").mkdir()
    (tmp_path / "spheres" / "thesis.txt").write_text("all of it")
    with pytest.raises(BundleError, match="exists"):
        write(tmp_path / "spheres", replace=True)
    assert (tmp_path / "spheres" / "thesis.txt").exists()


def test_folder_has_the_name_of_the_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="name"):
        write(tmp_path / "cubes")


def test_added_file_gets_a_digest(bundle: Path) -> None:
    manifest = add_files(bundle, {"README.md": b"# New\n", "atlas.png": b"picture"})
    assert manifest.files["atlas.png"] == hashlib.sha256(b"picture").hexdigest()
    assert verify_bundle(bundle) == manifest
    with pytest.raises(BundleError, match=r"atlas\.npz"):
        add_files(bundle, {"atlas.npz": b""})
