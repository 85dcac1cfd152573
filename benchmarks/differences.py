"""Measure where results differ from those of the published program, in millimetres; see docs/differences.md.

Run: `python -m benchmarks.differences --release RELEASE [--ears EARS] [--bundle NAME]`. RELEASE is a folder in the
published layout with `expected.npz`, EARS a folder of ears with `landmarks.json` each; parts without their data are
left out. Random fields come from fixed seeds, so that the numbers repeat.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from skimage.measure import marching_cubes

from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle
from model.geometry.alignment import align_by_landmarks
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks
from model.geometry.spaces import apply_affine
from model.masks.isosurface import isosurface
from model.masks.scanlines import cross_rays
from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh
from model.meshes.published import decode_published
from model.networks.published import PublishedRegistrationNet
from model.registration.rules import SamplerRule
from model.registration.sampler import sample_field
from model.release.atlas_files import IMAGE_FILE, SPACING_MM, activation_file, read_release_meshes, scale_atlas_image
from model.release.image_files import read_release_image
from model.release.importer import check_weights, network_parameters
from model.release.torch_file import read_state_dict
from model.structures import STRUCTURES, structure_by_id

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
Meshes = Mapping[str, SurfaceMesh]

CHAMFER = "Exp_task16-kcl-chamfer-reg4p0-post_1"
RMS_MM = 1.0
"""Size of the random fields: the study reports 0.90 to 1.10 mm before deformation."""

LENGTHS_MM = (1.0, 2.0, 4.0)
"""Widths (sigma) of the Gaussians that smooth the random fields."""

SEEDS = (1, 2, 3)


def say(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def read_field(field: FloatArray, points_ijk: FloatArray, *, exchanged: bool, held: bool) -> FloatArray:
    """Read a (3, I, J, K) field at (N, 3) points, with either part of the published rule or without.

    Args:
        field: the field.
        points_ijk: the points, in voxels.
        exchanged: exchange the weights of axes 0 and 1.
        held: hold points within [0, size - 2] and cells within [1, size - 3], not [0, size - 1] and [0, size - 2].
    """
    size = np.array(field.shape[1:])
    points = np.clip(points_ijk, 0, size - (2 if held else 1))
    cells = np.clip(np.floor(points).astype(int), 1 if held else 0, size - (3 if held else 2))
    weights = points - cells
    if exchanged:
        weights = weights[:, [1, 0, 2]]
    total = np.zeros_like(points)
    for corner in product((0, 1), repeat=3):
        weight = np.prod(np.where(corner, weights, 1 - weights), axis=1)
        total += weight[:, None] * field[:, *(cells + corner).T].T
    return total


def smooth_field(grid: tuple[int, int, int], length_mm: float, seed: int) -> FloatArray:
    """Give a smooth random (3, I, J, K) field in voxels; the root of its mean square displacement is `RMS_MM`."""
    noise = np.random.default_rng(seed).normal(size=(3, *grid))
    width = length_mm / SPACING_MM
    smooth = [ndimage.fourier_gaussian(np.fft.rfftn(part), width, grid[2]) for part in noise]
    field = np.stack([np.fft.irfftn(part, grid, axes=(0, 1, 2)) for part in smooth])
    return np.asarray(field * (RMS_MM / SPACING_MM / np.sqrt((field**2).sum(axis=0).mean())))


def check_against_ours(field: FloatArray, points: FloatArray, correct: FloatArray, published: FloatArray) -> None:
    """Make sure that what is compared here is what the program computes.

    Raises:
        ValueError: it is not.
    """
    rules: tuple[tuple[SamplerRule, FloatArray], ...] = (("trilinear", correct), ("published", published))
    for rule, values in rules:
        ours = sample_field(torch.from_numpy(field), torch.from_numpy(points), rule).numpy()
        if np.abs(ours - values).max() > 1e-6:
            raise ValueError(f"expected the sampler {rule} of the program, found another")


def show_sampler(title: str, cases: Mapping[str, list[FloatArray]], meshes: Meshes) -> None:
    """Print how far the published sampler moves vertices from where correct interpolation puts them."""
    say(f"\n{title}: mm between published and correct sampler, mean / 95 % / largest; share due to clamping alone")
    for case, fields in cases.items():
        for name, mesh in meshes.items():
            points = mesh.vertices
            both, clamping = [], []
            for field in fields:
                correct = read_field(field, points, exchanged=False, held=False)
                published = read_field(field, points, exchanged=True, held=True)
                check_against_ours(field, points, correct, published)
                both.append(np.linalg.norm(published - correct, axis=1) * SPACING_MM)
                held = read_field(field, points, exchanged=False, held=True)
                clamping.append(np.linalg.norm(held - correct, axis=1) * SPACING_MM)
            apart, clamped = np.concatenate(both), np.concatenate(clamping)
            say(
                f"{case:<14} {structure_by_id(name).code}  {apart.mean():.3f} / {np.percentile(apart, 95):.3f} / "
                f"{apart.max():.3f}   clamping {clamped.mean():.4f} / {clamped.max():.4f}"
            )


def centre_inside(mesh_ijk: SurfaceMesh, shape: tuple[int, int, int]) -> BoolArray:
    """Give the mask of the voxels whose centre is inside a surface that is wound outward."""
    crossings = cross_rays(mesh_ijk.vertices[mesh_ijk.triangles], (shape[0], shape[1]))
    first = np.ceil(crossings.depth).astype(int)
    within = first < shape[2]
    steps = np.zeros(shape)
    at = (crossings.u[within], crossings.v[within], np.maximum(first[within], 0))
    np.add.at(steps, at, crossings.sign[within])
    return np.asarray(np.cumsum(steps, axis=2) > 0.5)


def show_voxelization(meshes: Meshes, grid: tuple[int, int, int]) -> None:
    """Print how the rule of half coverage, ours and the published tool's, differs from that of the centre."""
    say("\nVoxelization: coverage of at least one half against centre inside")
    for spacing_mm in (SPACING_MM, 0.4):
        scale = SPACING_MM / spacing_mm
        affine = np.diag([scale, scale, scale, 1.0])
        affine[:3, 3] = (scale - 1) / 2  # outer faces of both grids coincide
        shape = (int(grid[0] * scale), int(grid[1] * scale), int(grid[2] * scale))
        for name, mesh in meshes.items():
            placed = mesh.transformed(affine, "ijk")
            half, centre = voxelize(placed, shape), centre_inside(placed, shape)
            dice = 2 * np.count_nonzero(half & centre) / (half.sum() + centre.sum())
            area = area_of(placed) * spacing_mm**2
            only, total = np.count_nonzero(half ^ centre), int(half.sum())
            say(
                f"{spacing_mm:.1f} mm  {structure_by_id(name).code}  Dice {dice:.4f}, {only} of {total} voxels in one "
                f"only, shift {only * spacing_mm**3 / area:.4f} mm, volume {(total - centre.sum()) / total:+.2%}"
            )


def area_of(mesh: SurfaceMesh) -> float:
    """Give the area of a surface, in the square of its unit."""
    one, two, three = mesh.vertices[mesh.triangles].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(two - one, three - one), axis=1).sum() / 2)


def show_surfaces_of_masks(meshes: Meshes, grid: tuple[int, int, int]) -> None:
    """Print how far marching cubes at level 0 of a mask of zeros and ones lies outside that at one half."""
    say("\nSurfaces of masks: marching cubes at level 0 (published) against 0.5 (ours), crop of 0.2 mm")
    for name, mesh in meshes.items():
        mask = voxelize(mesh, grid).astype(np.float32)
        ours = isosurface(mask)
        if ours is None:
            continue
        vertices, triangles, _, _ = marching_cubes(np.pad(mask, 1), 0.0)
        outer = abs(SurfaceMesh(vertices, triangles, "ijk").signed_volume)
        inner, true = ours.signed_volume, mesh.signed_volume
        area = area_of(mesh)
        say(
            f"{structure_by_id(name).code}  level 0 is {(outer - inner) / area * SPACING_MM:.3f} mm further out; "
            f"volume against the mesh {outer / true - 1:+.1%} (level 0), {inner / true - 1:+.1%} (0.5)"
        )


def show_winding(atlas: Path) -> None:
    """Print which published surfaces are wound inward, and that turning them moves nothing."""
    say("\nWinding: signed volume as published and as imported, mm3; largest change of a vertex, mm")
    for name, mesh in read_release_meshes(atlas).items():
        code = structure_by_id(name).code
        stored = decode_published((atlas / f"atlas_{code}.mesh").read_bytes())
        moved = np.abs(stored.vertices - mesh.vertices).max() * SPACING_MM
        before, after = stored.signed_volume * SPACING_MM**3, mesh.signed_volume * SPACING_MM**3
        say(f"{code}  {before:+.3f} -> {after:+.3f}   {moved:.6f}")


def show_routes(release: Path) -> None:
    """Print how far vertices of the two ways to give a network its atlas, and those of the program, are apart."""
    atlas, state = release / "data" / "atlas", read_state_dict(release / "checkpoints" / CHAMFER)
    network = PublishedRegistrationNet(**network_parameters(state))
    network.load_state_dict(check_weights(state, network_parameters(state)))
    network.eval()
    patient = torch.from_numpy(read_release_image(release / "ear.nii.gz"))[None, None]
    inputs = {
        "activation map": torch.from_numpy(read_release_image(atlas / activation_file("chamfer")))[None],
        "atlas image": torch.from_numpy(scale_atlas_image(read_release_image(atlas / IMAGE_FILE)))[None, None],
    }
    points = torch.from_numpy(np.concatenate([mesh.vertices for mesh in read_release_meshes(atlas).values()]))
    with np.load(release / "expected.npz") as expected:
        truth = expected["chamfer_vertices"]
    say("\nArithmetic: largest distance from the published program's vertices, mm")
    for name, values in inputs.items():
        with torch.no_grad():
            ddf = network(patient, values)[0].double()
        moved = points + sample_field(ddf, points, "published")
        say(f"{name:<15} {np.linalg.norm(moved.numpy() - truth, axis=1).max() * SPACING_MM:.6f}")


def show_places(ears: Path, frame: CanonicalFrame, meshes: Meshes) -> None:
    """Print how far the published output, 0.2 mm a voxel from a corner at zero, lies from the patient's anatomy."""
    apart = []
    points = np.concatenate([mesh.vertices for mesh in meshes.values()])
    for file in sorted(ears.glob("*/landmarks.json")):
        alignment = align_by_landmarks(Landmarks.parse(file.read_bytes()), None, frame)
        placed = apply_affine(alignment.canonical_to_ras, points)
        alone = apply_affine(frame.affine_ras, points)
        apart.append(np.linalg.norm(placed - alone, axis=1).mean())
    say("\nPlace: mean distance between the atlas in the patient's CT and on the published affine, mm")
    say(f"{len(apart)} ears: {min(apart):.1f} to {max(apart):.1f}, median {np.median(apart):.1f}")


def release_fields(release: Path) -> Iterator[tuple[str, list[FloatArray]]]:
    """Give the fields that the published program computed."""
    with np.load(release / "expected.npz") as expected:
        for method in ("chamfer", "p2p"):
            yield method, [expected[f"{method}_ddf"].astype(np.float64)]


def main() -> None:
    """Print all differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, help="folder in the published layout, with expected.npz")
    parser.add_argument("--ears", type=Path, help="folder of ears with landmarks.json each")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, help="bundle whose atlas stands for one of real size")
    arguments = parser.parse_args()
    bundle = load_bundle(find_bundle(arguments.bundle))
    meshes, grid = bundle.atlas_meshes_ijk, bundle.frame.grid
    if arguments.release is not None:
        atlas = arguments.release / "data" / "atlas"
        show_sampler("Sampler, release", dict(release_fields(arguments.release)), read_release_meshes(atlas))
        show_routes(arguments.release)
        show_winding(atlas)
    fields = {f"smooth {length:g} mm": [smooth_field(grid, length, seed) for seed in SEEDS] for length in LENGTHS_MM}
    show_sampler(f"Sampler, atlas of {bundle.name}, random fields of {RMS_MM:g} mm rms", fields, meshes)
    show_voxelization(meshes, grid)
    show_surfaces_of_masks(meshes, grid)
    if arguments.ears is not None:
        show_places(arguments.ears, bundle.frame, meshes)
    say(f"\nstructures: {', '.join(f'{structure.code} {structure.name}' for structure in STRUCTURES)}")


if __name__ == "__main__":
    main()
