"""The atlas as a file, and what is made of the fitted fields."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from bundle_fixtures import sphere_atlas

from model.atlas.build import ATLAS_FILE, MODE_GRID, Atlas, mean_image, shape_modes
from model.atlas.groupwise import Groupwise
from model.atlas.labelled_ears import LabelledEar
from model.atlas.surface_fit import SurfaceFit
from model.errors import InputError
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.structures import STRUCTURE_IDS

FRAME = CanonicalFrame((16, 18, 20), 0.4, "LPS", "left", {})


def toy_atlas() -> Atlas:
    """Give an atlas of four spheres and two ears."""
    rng = np.random.default_rng(0)
    spheres = sphere_atlas()
    meshes = {
        name: SurfaceMesh(
            spheres[name].vertices,
            spheres[name].triangles,
            "ijk",
            {"angle_deg": rng.uniform(0, 900, len(spheres[name].vertices)).astype(np.float32)},
        )
        for name in STRUCTURE_IDS
    }
    count = sum(len(mesh.vertices) for mesh in meshes.values())
    ears = {name: rng.normal(size=(count, 3)).astype(np.float32) for name in ("F01", "T02")}
    image = rng.uniform(-1000, 2000, (6, 7, 8)).astype(np.float32)
    return Atlas(meshes, image, rng.normal(size=(2, 3, 4, 4, 4)).astype(np.float32), ears)


def constant_fit(shift: tuple[float, float, float]) -> SurfaceFit:
    """Give a fit whose field is the same everywhere."""
    level = np.broadcast_to(np.array(shift, dtype=np.float32)[:, None, None, None], (3, 4, 4, 4)).copy()
    return SurfaceFit((level,), np.zeros((0, 3)), 0.0)


def toy_ear(name: str, image: Any, seen: Any, fluid_hu: float) -> LabelledEar:  # noqa: ANN401 - arrays
    """Give the parts of an ear that the mean image looks at."""
    label = np.ones((2, 2, 2), dtype=bool)
    volume = SimpleNamespace(data=np.full((2, 2, 2), fluid_hu, dtype=np.float32))
    return LabelledEar(name, cast(Any, volume), label, cast(Any, None), image, seen, cast(Any, None))


def test_an_atlas_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    atlas = toy_atlas()
    atlas.save(tmp_path / "new" / "atlas")
    back = Atlas.load(tmp_path / "new" / "atlas")
    assert tuple(back.meshes_ijk) == STRUCTURE_IDS
    for name, mesh in atlas.meshes_ijk.items():
        assert np.array_equal(back.meshes_ijk[name].vertices, mesh.vertices)
        assert np.array_equal(back.meshes_ijk[name].triangles, mesh.triangles)
        assert np.array_equal(back.meshes_ijk[name].point_data["angle_deg"], mesh.point_data["angle_deg"])
    np.testing.assert_allclose(back.image_hu, atlas.image_hu, atol=1.0)  # stored in half precision
    assert back.image_hu.dtype == np.float32
    assert np.array_equal(back.modes, atlas.modes)
    assert set(back.ear_vertices_ijk) == {"F01", "T02"}
    assert np.array_equal(back.ear_vertices_ijk["T02"], atlas.ear_vertices_ijk["T02"])
    assert back.counts() == {name: len(mesh.vertices) for name, mesh in atlas.meshes_ijk.items()}
    stacked = back.vertices_ijk()
    first = len(atlas.meshes_ijk["modiolus"].vertices)
    assert stacked.dtype == np.float32
    np.testing.assert_allclose(stacked[first], atlas.meshes_ijk["scala_tympani"].vertices[0], atol=1e-5)


def test_no_atlas_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="atlas cannot be read"):
        Atlas.load(tmp_path)
    toy_atlas().save(tmp_path)
    whole = (tmp_path / ATLAS_FILE).read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:3000] + b"\0" * 200 + whole[3200:]):
        (tmp_path / ATLAS_FILE).write_bytes(content)
        with pytest.raises(InputError, match="atlas cannot be read"):
            Atlas.load(tmp_path)
    np.savez(tmp_path / ATLAS_FILE, image_hu=np.zeros(3))
    with pytest.raises(InputError, match="atlas cannot be read"):
        Atlas.load(tmp_path)


def test_the_mean_image_pulls_each_ear_back_by_its_own_field() -> None:
    i, j, k = np.indices(FRAME.grid).astype(np.float32)
    ramp = 100 * i + 10 * j + k
    seen = np.ones(FRAME.grid, dtype=bool)
    half = seen.copy()
    half[:, :, :10] = False
    shifts = {"one": (2.0, 0.0, -1.0), "two": (0.0, -3.0, 0.0)}
    ears = [
        toy_ear("one", ramp, seen, 0.0),
        toy_ear("two", ramp, half, 300.0),
        toy_ear("drained", np.full(FRAME.grid, 9000, np.float32), seen, -900.0),
    ]
    group = Groupwise(cast(Any, None), {name: constant_fit(shift) for name, shift in shifts.items()})
    mean = mean_image(ears, FRAME, group)
    assert mean.dtype == np.float32
    at = (6, 9, 15)  # both are seen here: x lies at x + shift in each ear
    assert mean[at] == pytest.approx(((600 + 90 + 15) * 2 + 200 - 1 - 30) / 2, abs=0.1)
    assert mean[6, 9, 5] == pytest.approx(600 + 90 + 5 + 200 - 1, abs=0.1)  # only the first
    assert mean[15, 2, 5] == -1024  # the first one's field leaves the crop, the second one was not seen
    with pytest.raises(InputError, match="fluid"):
        mean_image(ears[2:], FRAME, group)


def test_shape_modes_are_the_directions_in_which_ears_differ() -> None:
    shifts = [(3.0, 0.0, 0.0), (-3.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)]
    group = Groupwise(cast(Any, None), {str(n): constant_fit(shift) for n, shift in enumerate(shifts)})
    modes = shape_modes(group)
    assert modes.shape == (3, 3, MODE_GRID, MODE_GRID, MODE_GRID)
    assert modes.dtype == np.float32
    # One standard deviation of four ears: sqrt(sum of squares / 3).
    np.testing.assert_allclose(np.abs(modes[0, 0]), np.sqrt(18 / 3), rtol=1e-4)
    np.testing.assert_allclose(np.abs(modes[1, 1]), np.sqrt(2 / 3), rtol=1e-4)
    assert np.abs(modes[0, 1:]).max() < 1e-4
    assert np.abs(modes[2]).max() < 1e-3
