"""Makes the training cases of a run: real ears, real ears with an implant put in, and synthetic ears."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from model.atlas.build import Atlas
from model.atlas.labelled_ears import LabelledEar
from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh
from model.structures import LABYRINTH
from model.synthesis.ear import EarOptions, synthesize_ear
from model.synthesis.grid import CANONICAL_SIZE, RenderGrid
from model.synthesis.implant import implant_into
from model.synthesis.template import build_template
from model.training.cases import CaseSet, TrainingCase
from model.training.config import DataSection

Progress = Callable[[str, float], None]

HU_RANGE = (-1024, 3071)
LUMEN_BLUR = 0.9
"""Standard deviation, in canonical voxels, of the blur of the lumen's border."""
FIRST_SYNTHETIC_SEED = 1000
"""Training ears are numbered from here; smaller seeds stay unseen, for tests of the trained model."""

REAL, IMPLANTED, SYNTHETIC = "real.npz", "implanted.npz", "synthetic.npz"


def prepare_cases(
    ears: Sequence[LabelledEar], atlas: Atlas, data: DataSection, folder: Path, progress: Progress
) -> list[CaseSet]:
    """Make the three sets of cases, or read those that an earlier start of the same run has made.

    Args:
        ears: the training ears.
        atlas: the atlas built from them.
        data: how many.
        folder: where the sets are kept.
        progress: called with the set's name and the fraction done.

    Returns:
        Real, implanted and synthetic cases.
    """
    folder.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[], CaseSet]] = {
        REAL: lambda: real_cases(ears, atlas),
        IMPLANTED: lambda: implanted_cases(ears, atlas, data, progress),
        SYNTHETIC: lambda: synthetic_cases(atlas, data, progress),
    }
    sets = []
    for name, make in makers.items():
        path = folder / name
        if not path.exists():
            unfinished = folder / f"unfinished-{name}"
            make().save(unfinished)
            unfinished.rename(path)
        sets.append(CaseSet.load(path))
    real, implanted, synthetic = sets
    return [with_lumens(real, atlas), with_lumens(implanted, atlas), synthetic]


def real_cases(ears: Sequence[LabelledEar], atlas: Atlas) -> CaseSet:
    """Give the training ears with the vertices that the atlas was fitted to them with."""
    cases = [TrainingCase(_stored(ear.image_hu), atlas.ear_vertices_ijk[ear.name]) for ear in ears]
    return _set(cases, atlas)


def implanted_cases(ears: Sequence[LabelledEar], atlas: Atlas, data: DataSection, progress: Progress) -> CaseSet:
    """Give each training ear with several electrode arrays in turn, at the resolution of the synthetic ears."""
    cases: list[TrainingCase] = []
    per_ear, factor = data.implants_per_ear, RenderGrid.of_spacing(data.spacing_mm).factor
    for round_ in range(per_ear):
        for number, ear in enumerate(sorted(ears, key=lambda ear: ear.name)):
            meshes = _placed(atlas, atlas.ear_vertices_ijk[ear.name])
            implanted = implant_into(ear.image_hu, meshes, seed=100 * round_ + number).image_hu
            image = block_mean(implanted, implanted.shape[0] // factor)
            cases.append(TrainingCase(_stored(image), atlas.ear_vertices_ijk[ear.name]))
            progress("implanted ears", len(cases) / (per_ear * len(ears)))
    return _set(cases, atlas)


def synthetic_cases(atlas: Atlas, data: DataSection, progress: Progress) -> CaseSet:
    """Give synthetic ears, drawn with the shape modes of the atlas."""
    options = EarOptions(
        spacing_mm=data.spacing_mm, implant_share=data.implant_share, modes=atlas.modes, with_ddf=False
    )
    template = build_template(atlas.meshes_ijk)
    cases = []
    for number in range(data.synthetic):
        ear = synthesize_ear(atlas.meshes_ijk, FIRST_SYNTHETIC_SEED + number, options, template)
        vertices = np.concatenate([ear.vertices_ijk[name] for name in atlas.meshes_ijk])
        cases.append(TrainingCase(_stored(ear.image_hu), vertices.astype(np.float32)))
        progress("synthetic ears", (number + 1) / data.synthetic)
    return _set(cases, atlas)


def with_lumens(cases: CaseSet, atlas: Atlas) -> CaseSet:
    """Give cases with the share of each voxel that lies in the labyrinth, blurred as a scanner does.

    Synthetic ears need none: what fills them is drawn when they are made.
    """
    lumens: dict[bytes, npt.NDArray[np.uint8]] = {}
    known = []
    for case in cases.cases:
        # The same ear comes with many implants.
        ear = hashlib.sha256(case.vertices_ijk.tobytes()).digest()
        if ear not in lumens:
            inside = voxelize(_placed(atlas, case.vertices_ijk)[LABYRINTH.id], (CANONICAL_SIZE,) * 3)
            blurred = gaussian_filter(inside.astype(np.float32), LUMEN_BLUR)
            lumens[ear] = np.round(255 * block_mean(blurred, case.image_hu.shape[0])).astype(np.uint8)
        known.append(replace(case, lumen=lumens[ear]))
    return replace(cases, cases=tuple(known))


def block_mean(image: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.floating]:
    """Average a cubic image over cubes of voxels, down to `size` voxels along each axis."""
    factor = image.shape[0] // size
    mean: npt.NDArray[np.floating] = image.reshape(size, factor, size, factor, size, factor).mean(axis=(1, 3, 5))
    return mean


def _placed(atlas: Atlas, vertices_ijk: npt.NDArray[np.float32]) -> dict[str, SurfaceMesh]:
    """Give the surfaces of one ear."""
    starts = np.cumsum([0, *atlas.counts().values()])
    return {
        name: mesh.with_vertices(vertices_ijk[start : start + len(mesh.vertices)])
        for (name, mesh), start in zip(atlas.meshes_ijk.items(), starts, strict=False)
    }


def _set(cases: Sequence[TrainingCase], atlas: Atlas) -> CaseSet:
    """Put cases together with the atlas they belong to."""
    return CaseSet(tuple(cases), atlas.vertices_ijk(), atlas.counts())


def _stored(image_hu: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """Give an image as it is stored: whole HU of a 12-bit scanner."""
    return np.clip(np.round(image_hu), *HU_RANGE).astype(np.int16)
