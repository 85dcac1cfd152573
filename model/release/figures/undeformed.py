"""The undeformed atlas, from the published files or from a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model.bundle import find_bundle, load_bundle
from model.errors import ReleaseError, UnknownBundleError
from model.evaluation.about import about
from model.meshes.formats import read_mesh
from model.meshes.mesh import SurfaceMesh
from model.structures import STRUCTURES


def read_undeformed(source: str | Path) -> Mapping[str, SurfaceMesh]:
    """Read the surfaces of an atlas in crop voxels, by structure id.

    Args:
        source: folder of `atlas_<MD|ST|SV|CC>.mesh`, of which some may be missing; or name or path of a bundle.

    Raises:
        ReleaseError: neither is there.
        MeshError: a file cannot be read.
        BundleError: the bundle is damaged or has no atlas.
    """
    folder = Path(source)
    paths = {structure.id: folder / f"atlas_{structure.code}.mesh" for structure in STRUCTURES}
    found = {name: path for name, path in paths.items() if path.is_file()}
    if found:
        meshes = {}
        for name, path in found.items():
            with about(f"atlas, {path.name}"):
                meshes[name] = read_mesh(path)
        return meshes
    try:
        bundle = find_bundle(source)
    except UnknownBundleError as error:
        raise ReleaseError(
            "there is no such atlas", expected="a folder of atlas_<MD|ST|SV|CC>.mesh, or a bundle", found=folder.name
        ) from error
    return load_bundle(bundle).atlas_meshes_ijk
