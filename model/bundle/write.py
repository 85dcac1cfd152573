"""Writing bundles: a bundle appears whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from model.bundle.atlas_file import atlas_arrays
from model.bundle.bundle import verify_bundle
from model.bundle.layout import ATLAS_FILE, ATLAS_INPUT, MANIFEST_FILE, WEIGHTS_FILE, atlas_input_file
from model.bundle.manifest_file import file_digest, read_manifest
from model.bundle.schema import SCHEMA_VERSION, BundleDescription, BundleManifest, StructureSection, WeightsSection
from model.errors import BundleError, MeshError
from model.meshes.mesh import SurfaceMesh
from model.structures import structure_by_id


def write_bundle(
    path: Path,
    description: BundleDescription,
    *,
    weights: Mapping[str, npt.NDArray[Any]],
    atlas_meshes_ijk: Mapping[str, SurfaceMesh] | None = None,
    atlas_input: npt.NDArray[Any] | None = None,
    structures: Sequence[str] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    replace: bool = False,
) -> BundleManifest:
    """Write a bundle; the same arguments give the same bytes.

    Args:
        path: folder to make; its name is the bundle's name.
        description: what the maker states.
        weights: state dict of the network, as arrays.
        atlas_meshes_ijk: surfaces in voxels of the canonical frame by structure id, wound outward; with per-vertex
            arrays such as `angle_deg`. None when the network gets no atlas.
        atlas_input: [i, j, k] atlas image in [-1, 1] or [c, i, j, k] first activation, as
            `description.network.input.atlas` says; float16 or float32. None when it is withheld or the network gets no
            atlas.
        structures: ids of the structures in the order of the network's channels, when the network gets no atlas.
        extra_files: further files by name, such as `README.md`.
        replace: whether an earlier bundle there may be replaced.

    Raises:
        BundleError: the folder exists or has another name than the bundle, values are not finite, or the atlas (or the
            structures instead of it) is missing.
        MeshError: a surface is in another space or wound inward.
        DamagedBundleError: what was written would not be accepted, for example an image of another grid.
    """
    if path.name != description.name:
        raise BundleError("the folder of a bundle has its name", expected=description.name, found=path.name)
    if path.exists() and not (replace and (path / MANIFEST_FILE).is_file()):
        hint = "choose another name" if replace else "choose another name or remove the earlier one"
        raise BundleError("the folder of the bundle exists already", found=path.name, hint=hint)
    _check_parts(description, atlas_meshes_ijk, atlas_input, structures)
    arrays = weights if atlas_input is None else {**weights, "the atlas input": atlas_input}
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise BundleError(f"{name} cannot be stored", expected="finite values", found="NaN or infinity")
    meshes = {} if atlas_meshes_ijk is None else atlas_meshes_ijk
    sections = tuple(_structure(name, meshes.get(name)) for name in (structures if structures is not None else meshes))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        staging = Path(temporary) / path.name
        staging.mkdir()
        for name, content in (extra_files or {}).items():
            _plain_file(staging, name).write_bytes(content)
        # Written by ourselves: the library's own writer makes files that only their owner can read.
        tensors = {name: np.ascontiguousarray(values) for name, values in weights.items()}
        (staging / WEIGHTS_FILE).write_bytes(save(tensors))
        if description.has_atlas:
            np.savez_compressed(staging / ATLAS_FILE, allow_pickle=False, **atlas_arrays(meshes))
        if atlas_input is not None:
            input_file = staging / atlas_input_file(description.network.input.atlas)
            np.savez_compressed(input_file, allow_pickle=False, **{ATLAS_INPUT: atlas_input})
        _write_manifest(staging, _manifest(description, sections, weights))
        verify_bundle(staging)
        _swap(staging, path, Path(temporary) / "earlier")
    return read_manifest(path)


def add_files(path: Path, files: Mapping[str, bytes]) -> BundleManifest:
    """Add files such as `README.md` or a picture to a bundle, or replace them, and write their digests.

    Raises:
        BundleError: a name that the bundle uses itself or that is not a plain file name.
        DamagedBundleError: the bundle is damaged.
    """
    manifest = verify_bundle(path)
    own = {MANIFEST_FILE, *manifest.own_files}
    for name in files:
        if name in own:
            raise BundleError("a file that makes up the bundle cannot be replaced", found=name)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        staging = Path(temporary) / path.name
        shutil.copytree(path, staging)
        for name, content in files.items():
            _plain_file(staging, name).write_bytes(content)
        _write_manifest(staging, manifest)
        verify_bundle(staging)
        _swap(staging, path, Path(temporary) / "earlier")
    return read_manifest(path)


def _check_parts(
    description: BundleDescription,
    meshes_ijk: Mapping[str, SurfaceMesh] | None,
    atlas_input: npt.NDArray[Any] | None,
    structures: Sequence[str] | None,
) -> None:
    """Refuse arguments that are not those of the network's kind: an atlas, or the structures of its channels."""
    atlas = (meshes_ijk is not None, atlas_input is not None)
    wanted = (description.has_atlas, description.has_atlas_input)
    if description.has_atlas and (atlas != wanted or structures is not None):
        what = "surfaces and input of the atlas" if wanted[1] else "surfaces of the atlas without its input"
        raise BundleError("the parts of the bundle do not fit its network", expected=what)
    if not description.has_atlas and (any(atlas) or not structures):
        raise BundleError("the parts of the bundle do not fit its network", expected="structures, and no atlas")


def _structure(structure_id: str, mesh: SurfaceMesh | None) -> StructureSection:
    """Describe one structure with its surface, if there is an atlas; refuse a surface that cannot be one."""
    known = structure_by_id(structure_id)
    if mesh is None:
        return StructureSection(id=known.id, code=known.code, colour=known.colour)
    if mesh.space != "ijk" or mesh.signed_volume <= 0:
        raise MeshError(
            f"the surface of {structure_id} cannot be an atlas",
            expected="voxel indices, triangles wound outward",
            found=f"space {mesh.space}, signed volume {mesh.signed_volume:.3g}",
        )
    return StructureSection(
        id=known.id,
        code=known.code,
        colour=known.colour,
        vertices=len(mesh.vertices),
        triangles=len(mesh.triangles),
    )


def _manifest(
    description: BundleDescription, structures: tuple[StructureSection, ...], weights: Mapping[str, npt.NDArray[Any]]
) -> BundleManifest:
    """Put the manifest together, digests still missing."""
    counts = WeightsSection(tensors=len(weights), values=sum(values.size for values in weights.values()))
    return BundleManifest(
        **{name: getattr(description, name) for name in BundleDescription.model_fields},
        schema_version=SCHEMA_VERSION,
        structures=structures,
        weights=counts,
        files={},
    )


def _write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write the manifest with the digests of all other files in the folder."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.name != MANIFEST_FILE)
    full = manifest.model_copy(update={"files": {name: file_digest(folder / name) for name in names}})
    document = full.model_dump(mode="json", by_alias=True)
    # People read the file from the top: what it is comes first, digests last.
    ordered = {"schema_version": document.pop("schema_version"), **document}
    (folder / MANIFEST_FILE).write_text(json.dumps(ordered, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain_file(folder: Path, name: str) -> Path:
    """Give the path of a file in a folder, or refuse a name that would leave it or be hidden."""
    if name != Path(name).name or name.startswith(".") or "\\" in name:
        raise BundleError("a file of a bundle has a plain name", expected="a name without folders", found=repr(name))
    return folder / name


def _swap(staging: Path, path: Path, earlier: Path) -> None:
    """Put the new folder in the place of the old one, if any; the old one comes back when that fails."""
    if not path.exists():
        staging.rename(path)
        return
    path.rename(earlier)
    try:
        staging.rename(path)
    except OSError:
        earlier.rename(path)
        raise
