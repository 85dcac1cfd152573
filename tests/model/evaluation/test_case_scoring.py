"""Scoring one result against its truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from segmentations import oblique_volume
from studies import CENTRE_RAS, ellipsoid
from surfaces import sphere

from model.evaluation.curves import STEPS_MM
from model.evaluation.folds import DisplacementField
from model.evaluation.overlap import dice
from model.evaluation.rows import Row
from model.evaluation.scoring import score_case
from model.evaluation.truth import CaseTruth
from model.masks.voxelize import voxelize_structures
from model.meshes.mesh import SurfaceMesh

VOLUME = oblique_volume()


def truth(**changes: Any) -> CaseTruth:  # noqa: ANN401 - whatever CaseTruth takes
    settled: dict[str, Any] = {"affine": VOLUME.affine, "shape": VOLUME.shape}
    return CaseTruth(**{"meshes_ras": {"labyrinth": ellipsoid()}, **settled, **changes})


def score(mesh: SurfaceMesh, true: CaseTruth) -> Row:
    (row,) = score_case({"labyrinth": mesh}, true, method="m", case="c")
    return row


def voxels(mesh: SurfaceMesh) -> Any:  # noqa: ANN401 - a boolean array
    return voxelize_structures({"labyrinth": mesh}, VOLUME.affine, VOLUME.shape)["labyrinth"]


def test_a_perfect_result_is_perfect_whatever_its_winding() -> None:
    for mesh in (ellipsoid(), ellipsoid().flipped()):
        row = score(mesh, truth())
        assert row.point_to_point_mm == row.point_to_point_median_mm == 0
        assert row.surface_mean_mm == pytest.approx(0, abs=1e-3)
        assert row.points_below is not None
        assert set(row.points_below) == {1.0}
    assert score(ellipsoid(), truth()).dice == 1


def test_a_shift_is_measured_in_millimetres() -> None:
    row = score(ellipsoid(shift_mm=(0.3, 0.0, -0.4)), truth())
    assert row.point_to_point_mm == pytest.approx(0.5)
    assert row.point_to_point_median_mm == pytest.approx(0.5)
    assert row.points_below is not None
    below = dict(zip(STEPS_MM, row.points_below, strict=True))
    assert below[0.45] == 0
    assert below[0.55] == 1
    assert row.dice == dice(voxels(ellipsoid(shift_mm=(0.3, 0.0, -0.4))), voxels(ellipsoid()))


@pytest.mark.parametrize("offset", [0.2, 0.8])
def test_hausdorff_distance_of_spheres_is_that_of_the_formula(offset: float) -> None:
    radius = 3.0
    first = sphere(radius, CENTRE_RAS, level=5, space="ras")
    second = sphere(radius, CENTRE_RAS + np.array([0, offset, 0]), level=4, space="ras")
    row = score(second, truth(meshes_ras={"labyrinth": first}))
    # A point of one sphere is | |p - c| - r | away from the other; even points by brute force.
    points = np.random.default_rng(0).normal(size=(200_000, 3))
    points *= radius / np.linalg.norm(points, axis=1)[:, None]
    apart = np.abs(np.linalg.norm(points - [0, offset, 0], axis=1) - radius)
    assert row.hausdorff95_mm == pytest.approx(np.percentile(apart, 95), abs=0.02)
    assert row.surface_mean_mm == pytest.approx(apart.mean(), abs=0.02)
    assert row.surface_below is not None
    at = STEPS_MM.index(0.1)
    assert row.surface_below[at] == pytest.approx(np.mean(apart <= 0.1), abs=0.05)


def test_surfaces_without_correspondence_have_no_point_to_point_error() -> None:
    other = sphere(1.0, level=3, space="ras")
    row = score(other.with_vertices(other.vertices * [4, 2.5, 1.5] + CENTRE_RAS), truth())
    assert row.point_to_point_mm is None
    assert row.points_below is None
    assert row.surface_mean_mm is not None
    assert row.surface_mean_mm < 0.05


def test_masks_alone_are_scored_by_their_surfaces() -> None:
    true_mask, shifted = voxels(ellipsoid()), voxels(ellipsoid(shift_mm=(0.0, 0.0, 0.6)))
    true = CaseTruth(masks={"labyrinth": true_mask}, affine=VOLUME.affine)
    (row,) = score_case({}, true, method="m", case="c", masks={"labyrinth": shifted})
    assert row.dice == dice(shifted, true_mask)
    exact = score(ellipsoid(shift_mm=(0.0, 0.0, 0.6)), truth())
    assert row.hausdorff95_mm == pytest.approx(exact.hausdorff95_mm, abs=0.45 * max(VOLUME.spacing_mm))
    assert row.point_to_point_mm is None
    (empty,) = score_case({}, true, method="m", case="c", masks={"labyrinth": np.zeros_like(true_mask)})
    assert empty.dice == 0
    assert empty.hausdorff95_mm is None  # an empty mask has no surface, which is not a distance of zero


def test_the_methods_own_mask_counts_for_dice() -> None:
    own = voxels(ellipsoid(shift_mm=(1.0, 0, 0)))
    (row,) = score_case({"labyrinth": ellipsoid()}, truth(), method="m", case="c", masks={"labyrinth": own})
    assert row.dice == dice(own, voxels(ellipsoid()))
    assert row.point_to_point_mm == 0


def test_swapped_axes_and_a_lost_affine_score_badly() -> None:
    right = ellipsoid()
    swapped = right.with_vertices((right.vertices - CENTRE_RAS)[:, [1, 0, 2]] + CENTRE_RAS)
    row = score(swapped, truth())
    assert row.dice is not None
    assert row.dice < 0.85
    assert row.point_to_point_mm is not None
    assert row.point_to_point_mm > 0.5
    assert row.hausdorff95_mm is not None
    assert row.hausdorff95_mm > 0.8
    to_voxels = right.transformed(np.linalg.inv(VOLUME.affine), "ijk")
    lost = score(SurfaceMesh(to_voxels.vertices, to_voxels.triangles, "ras"), truth())
    assert lost.dice == 0
    assert lost.surface_mean_mm is not None
    assert lost.surface_mean_mm > 5
    with pytest.raises(ValueError, match="in ras"):
        score(to_voxels, truth())


def test_structures_without_result_are_unknown_not_zero() -> None:
    true = truth(meshes_ras={"labyrinth": ellipsoid(), "modiolus": ellipsoid((1, 1, 1))})
    rows = score_case({"labyrinth": ellipsoid()}, true, method="m", case="c", group="g")
    assert [(row.structure, row.empty) for row in rows] == [("modiolus", True), ("labyrinth", False)]
    assert rows[0] == Row("m", "g", "c", "modiolus")
    (no_grid,) = score_case({"labyrinth": ellipsoid()}, CaseTruth({"labyrinth": ellipsoid()}), method="m", case="c")
    assert no_grid.dice is None
    assert no_grid.point_to_point_mm == 0


def test_only_active_vertices_count_point_to_point() -> None:
    mesh = ellipsoid()
    vertices, active = mesh.vertices.copy(), np.zeros(len(mesh.vertices), dtype=bool)
    vertices[:10] += [0, 0, 1]
    active[5:15] = True
    row = score(mesh.with_vertices(vertices), truth(active={"labyrinth": active}))
    assert row.point_to_point_mm == pytest.approx(0.5)


def test_folds_are_told_by_structure() -> None:
    ddf = np.zeros((3, 20, 20, 20), dtype=np.float32)
    affine = np.eye(4)
    affine[:3, 3] = CENTRE_RAS - 10
    ddf[0, 10, 10, 10] = 2.0
    field = DisplacementField(ddf, affine)
    (row,) = score_case({"labyrinth": ellipsoid()}, truth(), method="m", case="c", field=field)
    assert row.jacobian_minimum == pytest.approx(-1)
    assert row.folds is not None
    assert 0 < row.folds < 0.02


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="affine"):
        CaseTruth(masks={"labyrinth": np.zeros((3, 3, 3), dtype=bool)})
    with pytest.raises(ValueError, match="one shape"):
        truth(masks={"labyrinth": np.zeros((3, 3, 3), dtype=bool)})
    with pytest.raises(ValueError, match="structures"):
        CaseTruth({"liver": ellipsoid()})
    with pytest.raises(ValueError, match="truth's shape"):
        score_case({}, truth(), method="m", case="c", masks={"labyrinth": np.zeros((3, 3, 3), dtype=bool)})
    broken = ellipsoid()
    broken.vertices[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        score(broken, truth())
    with pytest.raises(ValueError, match="finite"):
        Row("m", "g", "c", "labyrinth", dice=float("nan"))
