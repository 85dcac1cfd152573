"""Another ear's surface with another triangulation: the atlas's vertices come to where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from labyrinths import bent, labyrinth, misplaced, remeshed
from surfaces import sphere

from model.errors import MeshError
from model.evaluation.distances import point_to_point_mm, surface_distance
from model.meshes.mesh import SurfaceMesh
from model.meshes.pieces import largest_piece
from model.surface_registration.register import RegistrationOptions, register_surface


@pytest.fixture(scope="module")
def truth() -> SurfaceMesh:
    """The atlas as another ear, turned by 20 degrees and moved by 3 mm."""
    atlas = labyrinth()
    return atlas.with_vertices(misplaced(bent(atlas.vertices, 0), atlas.vertices.mean(axis=0)))


@pytest.fixture(scope="module")
def patient(truth: SurfaceMesh) -> SurfaceMesh:
    return remeshed(truth)


def test_vertices_are_found_again_after_bending_and_misplacement(truth: SurfaceMesh, patient: SurfaceMesh) -> None:
    atlas, seen = labyrinth(), []
    # Wound inward: the winding of the patient's file does not matter.
    result = register_surface(atlas, patient.flipped(), progress=lambda what, part: seen.append((what, part)))
    surface, report = result.surface_ras, result.report
    assert np.array_equal(surface.triangles, atlas.triangles)
    assert np.array_equal(surface.point_data["number"], atlas.point_data["number"])
    errors = point_to_point_mm(surface.vertices, truth.vertices)
    assert np.median(errors) < 0.12
    assert np.percentile(errors, 95) < 0.4
    assert report.flipped_triangles == 0
    assert report.atlas_to_patient.mean_mm < 0.05
    assert report.patient_to_atlas.mean_mm < 0.05
    distance = surface_distance(surface, patient)
    assert (report.atlas_to_patient.mean_mm + report.patient_to_atlas.mean_mm) / 2 == pytest.approx(distance.mean_mm)
    assert [part for _, part in seen] == sorted(part for _, part in seen)
    assert seen[-1][1] == 1.0


def test_holes_and_stray_pieces_do_no_harm(truth: SurfaceMesh, patient: SurfaceMesh) -> None:
    random = np.random.default_rng(4)
    middles = patient.vertices[patient.triangles].mean(axis=1)
    holes = middles[random.choice(len(middles), 6)]
    kept = patient.triangles[np.linalg.norm(middles[:, None] - holes, axis=2).min(axis=1) > 0.7]
    pieces = [SurfaceMesh(patient.vertices, kept, "ras")]
    for at in random.choice(len(patient.vertices), 4):
        centre = patient.vertices[at] + random.normal(size=3)
        pieces.append(sphere(float(random.uniform(0.3, 0.8)), centre, level=3, space="ras"))
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    spoilt = SurfaceMesh(
        np.concatenate([piece.vertices for piece in pieces]),
        np.concatenate([piece.triangles + start for piece, start in zip(pieces, starts, strict=False)]),
        "ras",
    )
    result = register_surface(labyrinth(), spoilt)
    errors = point_to_point_mm(result.surface_ras.vertices, truth.vertices)
    over_holes = np.linalg.norm(truth.vertices[:, None] - holes, axis=2).min(axis=1) < 0.7
    assert over_holes.sum() > 50
    assert np.median(errors) < 0.15
    assert np.median(errors[over_holes]) < 0.25
    assert errors.max() < 1.2
    assert result.report.flipped_triangles <= 3
    assert surface_distance(result.surface_ras, patient).mean_mm < 0.06
    assert len(largest_piece(spoilt).triangles) == len(kept)


def test_the_other_side_is_refused_unless_mirrored(patient: SurfaceMesh) -> None:
    atlas = labyrinth()
    mirrored = atlas.transformed(np.diag([1.0, 1.0, -1.0, 1.0]), "ras")
    with pytest.raises(MeshError, match="opposite sides") as refusal:
        register_surface(mirrored, patient)
    assert "--mirror" in str(refusal.value)
    with pytest.raises(MeshError, match="leave out --mirror"):
        register_surface(atlas, patient, RegistrationOptions(mirror=True))


def test_a_mirrored_atlas_keeps_its_vertices_and_faces_outward() -> None:
    ellipsoid = sphere(1.0, level=3, space="ras")
    atlas = ellipsoid.with_vertices(ellipsoid.vertices * [6.0, 4.0, 3.0])
    options = RegistrationOptions(rigid=False, mirror=True)
    target = atlas.with_vertices(atlas.vertices * 1.05)
    surface = register_surface(atlas, target, options).surface_ras
    assert np.array_equal(surface.triangles, atlas.triangles[:, ::-1])
    assert surface.signed_volume == pytest.approx(target.signed_volume, rel=0.01)
    assert point_to_point_mm(surface.vertices, target.vertices * [-1, 1, 1]).max() < 0.25


def test_surfaces_that_cannot_be_used_are_refused(patient: SurfaceMesh) -> None:
    atlas = labyrinth()
    with pytest.raises(MeshError, match="differ in size"):
        register_surface(atlas, patient.with_vertices(patient.vertices * 5))
    with pytest.raises(MeshError, match="no surface"):
        register_surface(atlas, SurfaceMesh(patient.vertices, patient.triangles[:2], "ras"))
    broken = patient.vertices.copy()
    broken[3] = np.nan
    with pytest.raises(MeshError, match="not finite"):
        register_surface(atlas, patient.with_vertices(broken))
