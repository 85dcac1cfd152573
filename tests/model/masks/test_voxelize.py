"""Masks of closed surfaces: against analytic shapes, an independent program and themselves."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentations import open_nifti
from support import shared_path
from surfaces import box, rotation, sphere, torus
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

from model.errors import MeshError
from model.masks.coverage import coverage
from model.masks.voxelize import voxelize, voxelize_structures
from model.meshes.mesh import SurfaceMesh

GRID = (40, 44, 36)


def centres(shape: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """(I, J, K, 3) voxel centres."""
    return np.stack(np.meshgrid(*(np.arange(size, dtype=float) for size in shape), indexing="ij"), axis=-1)


def full_coverage(mesh: SurfaceMesh, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    fractions, part = coverage(mesh, shape)
    whole = np.zeros(shape, dtype=np.float32)
    whole[part] = fractions
    return whole


def test_a_box_covers_exactly_its_part_of_every_voxel() -> None:
    fractions = full_coverage(box((1.25, 2.0, 3.0), (4.0, 5.5, 4.7)), (8, 8, 8))
    # A voxel spans its index -0.5 .. +0.5; the rays sample i and j in steps of 1/26.
    i = np.array([0, 0.25, 1, 1, 0.5, 0, 0, 0])
    j = np.array([0, 0, 0.5, 1, 1, 1, 0, 0])
    k = np.array([0, 0, 0, 0.5, 1, 0.2, 0, 0])
    assert np.abs(fractions - i[:, None, None] * j[None, :, None] * k[None, None, :]).max() < 0.03


def test_half_a_voxel_is_in_and_less_is_out() -> None:
    assert voxelize(box((0.5, 0.5, 0.5), (3.5, 3.5, 3.0)), (5, 5, 5))[2, 2].tolist() == [False, True, True, True, False]
    assert voxelize(box((0.5, 0.5, 0.5), (3.5, 3.5, 2.9)), (5, 5, 5))[2, 2].tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert voxelize(box((0.5, 0.5, 0.5), (3.0, 3.5, 3.5)), (5, 5, 5))[:, 2, 2].tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert voxelize(box((0.5, 0.5, 0.5), (3.5, 2.9, 3.5)), (5, 5, 5))[2, :, 2].tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]


@given(
    radius=st.floats(2.0, 14.0),
    offset=st.tuples(*(st.floats(-0.5, 0.5) for _ in range(3))),
)
@settings(max_examples=25, deadline=None)
def test_a_sphere_is_met_within_half_a_voxel(radius: float, offset: tuple[float, float, float]) -> None:
    middle = np.array(GRID) / 2 + offset
    mask = voxelize(sphere(radius, middle, level=5), GRID)
    distance = np.linalg.norm(centres(GRID) - middle, axis=-1) - radius
    assert mask[distance < -0.5].all()
    assert not mask[distance > 0.5].any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_torus_is_met_within_half_a_voxel(axis: int) -> None:
    middle = np.array([20.3, 21.7, 18.2])
    order = np.roll([0, 1, 2], axis)
    mesh = torus(12.0, 3.0, sides=96, turns=320)
    turned = SurfaceMesh(mesh.vertices[:, order] + middle, mesh.triangles, "ijk")
    mask = voxelize(turned, GRID)
    local = (centres(GRID) - middle)[..., np.argsort(order)]
    distance = np.hypot(np.hypot(local[..., 0], local[..., 1]) - 12.0, local[..., 2]) - 3.0
    assert mask[distance < -0.5].all()
    assert not mask[distance > 0.5].any()
    assert mask.sum() == pytest.approx(2 * np.pi**2 * 12.0 * 3.0**2, rel=0.01)


@pytest.mark.parametrize(("width_mm", "tolerance"), [(0.6, 0.05), (0.8, 0.02), (1.2, 0.01)])
def test_a_tube_as_thin_as_a_canal_keeps_its_volume(width_mm: float, tolerance: float) -> None:
    """Canals are 0.6 to 1.2 mm wide; a voxel that is less than half inside is out, which costs the thinnest 4 %."""
    mesh = torus(15.0, width_mm / 2 / 0.2, (20.1, 21.6, 18.3), sides=48, turns=320)
    mask = voxelize(mesh, GRID)
    assert mask.sum() == pytest.approx(mesh.signed_volume, rel=tolerance)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_coverage_agrees_with_points_counted_in_an_ellipsoid(seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix = rotation(seed) @ np.diag(random.uniform(2.0, 6.0, 3))
    middle = np.array([7.5, 7.5, 7.5]) + random.uniform(-1, 1, 3)
    unit = sphere(1.0, level=5)
    mesh = SurfaceMesh(unit.vertices @ matrix.T + middle, unit.triangles, "ijk")
    fine = (np.arange(16 * 8) + 0.5) / 8 - 0.5
    points = np.stack(np.meshgrid(fine, fine, fine, indexing="ij"), axis=-1) - middle
    inside = (((points @ np.linalg.inv(matrix).T) ** 2).sum(axis=-1) < 1).astype(np.float32)
    counted = inside.reshape(16, 8, 16, 8, 16, 8).mean(axis=(1, 3, 5))
    assert np.abs(full_coverage(mesh, (16, 16, 16)) - counted).max() < 0.1
    mask = voxelize(mesh, (16, 16, 16))
    clear = np.abs(counted - 0.5) > 0.05
    assert np.array_equal(mask[clear], counted[clear] > 0.5)


def test_coverage_agrees_with_a_stencil_of_vtk() -> None:
    """An irregular surface, sampled by VTK at 4 x 4 x 4 points per voxel."""
    random, factor = np.random.default_rng(3), 4
    unit = sphere(1.0, level=4)
    waves = random.normal(size=(4, 3)) * 2
    radius = 9.0 + np.sin(unit.vertices @ waves.T).sum(axis=1)
    mesh = SurfaceMesh(unit.vertices * radius[:, None] + 16.0, unit.triangles, "ijk")
    points = vtkPoints()
    points.SetData(numpy_to_vtk(mesh.vertices, deep=True))
    cells = vtkCellArray()
    offsets = np.arange(0, 3 * len(mesh.triangles) + 1, 3, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(mesh.triangles.ravel().astype(np.int64), deep=True),
    )
    polydata = vtkPolyData()
    polydata.SetPoints(points)
    polydata.SetPolys(cells)
    stencil = vtkPolyDataToImageStencil()
    stencil.SetInputData(polydata)
    stencil.SetOutputSpacing(*[1 / factor] * 3)
    stencil.SetOutputOrigin(*[(0.5 / factor) - 0.5] * 3)
    size = 32 * factor
    stencil.SetOutputWholeExtent(0, size - 1, 0, size - 1, 0, size - 1)
    stencil.SetTolerance(0)
    image = vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.Update()
    fine = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars()).reshape(size, size, size).transpose(2, 1, 0)
    counted = fine.reshape(32, factor, 32, factor, 32, factor).mean(axis=(1, 3, 5))
    fractions = full_coverage(mesh, (32, 32, 32))
    assert np.abs(fractions - counted).max() < 0.12
    assert np.abs(fractions - counted).mean() < 0.002
    assert fractions.sum() == pytest.approx(mesh.signed_volume, rel=5e-4)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_the_order_and_direction_of_axes_do_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    unit = sphere(1.0, level=3)
    matrix = rotation(seed) @ np.diag(random.uniform(2.0, 6.0, 3))
    mesh = SurfaceMesh(unit.vertices @ matrix.T + [8.2, 9.1, 7.7], unit.triangles, "ijk")
    shape = (17, 19, 16)
    mask = voxelize(mesh, shape)
    order = random.permutation(3)
    flips = random.integers(0, 2, 3).astype(bool)
    points = np.where(flips, np.array(shape) - 1 - mesh.vertices, mesh.vertices)[:, order]
    # The winding is not mended here: surfaces wound inward as a whole mean the same.
    other = voxelize(SurfaceMesh(points, mesh.triangles, "ijk"), (shape[order[0]], shape[order[1]], shape[order[2]]))
    expected = np.flip(mask, axis=tuple(np.flatnonzero(flips))).transpose(order)
    differing = np.count_nonzero(other != expected)
    assert differing <= 0.02 * mask.sum() + 3  # rays along another axis: voxels covered by almost exactly one half


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_what_reaches_outside_the_grid_is_cut_off(seed: int) -> None:
    random = np.random.default_rng(seed)
    mesh = sphere(7.0, (12, 12, 12), level=4)
    whole = voxelize(mesh, (24, 24, 24))
    low = random.integers(2, 12, 3)
    size = random.integers(3, 12, 3)
    shifted = SurfaceMesh(mesh.vertices - low, mesh.triangles, "ijk")
    part = voxelize(shifted, (int(size[0]), int(size[1]), int(size[2])))
    assert np.array_equal(part, whole[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))])


def test_a_surface_beside_the_grid_gives_an_empty_mask() -> None:
    for centre in ((-30, 5, 5), (5, 60, 5), (5, 5, 99)):
        assert not voxelize(sphere(5.0, centre, level=2), (10, 10, 10)).any()


def test_a_cavity_stays_hollow_and_an_overlap_counts_once() -> None:
    outer, inner = sphere(9.0, (12, 12, 12)), sphere(4.0, (12, 12, 12)).flipped()
    triangles = np.concatenate([outer.triangles, inner.triangles + len(outer.vertices)])
    shell = voxelize(SurfaceMesh(np.concatenate([outer.vertices, inner.vertices]), triangles, "ijk"), (24, 24, 24))
    expected = voxelize(outer, (24, 24, 24)) & ~voxelize(inner, (24, 24, 24))
    assert np.count_nonzero(shell != expected) <= 20  # voxels that the inner surface cuts into halves
    assert not shell[12, 12, 12]
    one, two = sphere(6.0, (9, 12, 12)), sphere(6.0, (14, 12, 12))
    triangles = np.concatenate([one.triangles, two.triangles + len(one.vertices)])
    union = voxelize(SurfaceMesh(np.concatenate([one.vertices, two.vertices]), triangles, "ijk"), (24, 24, 24))
    either = voxelize(one, (24, 24, 24)) | voxelize(two, (24, 24, 24))
    assert not (either & ~union).any()
    assert (union & ~either).sum() <= 20  # only where both cover less than half, along the seam


def test_rays_through_vertices_and_edges_leave_no_streaks() -> None:
    """Vertices on the ray lattice itself, triangles seen edge-on."""
    mesh = sphere(8.0, (10 + 0.5 / 26, 10 + 0.5 / 26, 10), level=0)
    fractions = full_coverage(mesh, (20, 20, 20))
    assert fractions.sum() == pytest.approx(8.0**3 * 4 / 3, rel=0.005)
    outside = np.abs(centres((20, 20, 20)) - 10).sum(axis=-1) > 10
    assert fractions[outside].max() < 1e-12


def test_open_surfaces_and_other_spaces_are_refused() -> None:
    mesh = sphere(5.0, (8, 8, 8), level=2)
    with pytest.raises(MeshError, match="does not enclose"):
        voxelize(SurfaceMesh(mesh.vertices, mesh.triangles[5:], "ijk"), (16, 16, 16))
    with pytest.raises(ValueError, match="expected a mesh in ijk"):
        voxelize(SurfaceMesh(mesh.vertices, mesh.triangles, "ras"), (16, 16, 16))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_masks_on_oblique_anisotropic_grids_lie_where_the_surface_lies(seed: int) -> None:
    random = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) @ np.diag(random.uniform(0.15, 0.4, 3) * random.choice([-1, 1], 3))
    shape = (60, 55, 50)
    middle = affine[:3, :3] @ (np.array(shape) / 2)
    affine[:3, 3] = random.uniform(-80, 80, 3) - middle
    middle = middle + affine[:3, 3]
    mesh = sphere(2.5, middle, level=4, space="ras")
    mask = voxelize_structures({"labyrinth": mesh}, affine, shape)["labyrinth"]
    centroid = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    assert np.linalg.norm(centroid - middle) < 0.02
    assert mask.sum() * abs(np.linalg.det(affine[:3, :3])) == pytest.approx(mesh.signed_volume, rel=0.03)


def test_a_real_labyrinth_keeps_its_volume_on_a_grid_of_a_fifth_of_a_millimetre() -> None:
    from scipy.ndimage import gaussian_filter
    from skimage.measure import marching_cubes

    image = open_nifti(shared_path("ears/T06/labyrinth.nii.gz"))
    smooth = gaussian_filter(np.asarray(image.dataobj, dtype=np.float32), 0.8)
    vertices, triangles, _, _ = marching_cubes(np.pad(smooth, 1), 0.5)
    mesh = SurfaceMesh(vertices - 1, triangles, "ijk")
    mesh = mesh if mesh.signed_volume > 0 else mesh.flipped()
    grid = np.diag([0.2, 0.2, 0.2, 1.0])
    grid[:3, 3] = image.affine[:3, 3]
    mesh_ras = mesh.transformed(image.affine, "ras")
    mask = voxelize_structures({"labyrinth": mesh_ras}, grid, (128, 128, 128))["labyrinth"]
    assert mask.sum() * 0.008 == pytest.approx(mesh_ras.signed_volume, rel=0.02)


def test_a_labyrinth_sized_surface_takes_less_than_half_a_second() -> None:
    mesh = torus(40.0, 6.0, (63.5, 63.5, 63.5), sides=60, turns=240)
    times = []
    for _ in range(5):
        start = time.process_time()
        voxelize(mesh, (128, 128, 128))
        times.append(time.process_time() - start)
    assert min(times) < 0.5
