"""The atlas of an existing model, fitted to labelled ears: for runs that go on from that model on any machine.

Building an atlas anew gives surfaces that differ by hundredths of a millimetre between processors, which is enough for
vertices to be no longer the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model.atlas.build import TRIANGLES, Atlas, placed_vertices, shape_modes
from model.atlas.groupwise import FINE, fit_group, simplify
from model.atlas.labelled_ears import LabelledEar
from model.atlas.surface_fit import FitOptions
from model.bundle import Bundle
from model.bundle.schema import HuWindow
from model.errors import BundleError
from model.geometry.frame import CanonicalFrame
from model.structures import LABYRINTH, STRUCTURE_IDS


def atlas_of_bundle(
    bundle: Bundle,
    ears: Sequence[LabelledEar],
    frame: CanonicalFrame,
    *,
    seed: int,
    options: FitOptions = FINE,
    progress: Callable[[str, float], None] | None = None,
) -> Atlas:
    """Take surfaces and image of a model's atlas as they are, and find where they lie in labelled ears.

    Args:
        bundle: a registration model of the structures of this project, with an atlas image in a window of HU.
        ears: the ears, in the frame.
        frame: the canonical frame; the model's own has to be the same.
        seed: of the fits.
        options: how the fits run.
        progress: called with the name of an ear and the fraction done.

    Returns:
        The model's atlas, with the vertices of these ears and the modes in which they differ from it. Its image is
        clipped to the model's window.

    Raises:
        BundleError: the model has no such atlas, or another frame.
    """
    meshes, window = bundle.atlas_meshes_ijk, bundle.manifest.intensity
    if tuple(meshes) != STRUCTURE_IDS or not isinstance(window, HuWindow):
        raise BundleError(
            "the model's atlas cannot be fitted to ears",
            expected=f"surfaces of {', '.join(STRUCTURE_IDS)}, and intensities from a window of HU",
            found=f"{', '.join(meshes) or 'no atlas'}; {window.rule}",
        )
    if (bundle.frame.grid, bundle.frame.landmarks_ijk) != (frame.grid, frame.landmarks_ijk):
        raise BundleError("the model has another canonical frame than the ears", expected="the same grid and landmarks")
    surfaces = {ear.name: simplify(ear.surface_ijk, TRIANGLES) for ear in ears}
    group = fit_group(meshes[LABYRINTH.id], surfaces, frame.grid, seed=seed, options=options, progress=progress)
    image_hu = (bundle.atlas_image() + 1) / 2 * (window.high - window.low) + window.low
    return Atlas(meshes, image_hu.astype(np.float32), shape_modes(group), placed_vertices(meshes, frame, group))
