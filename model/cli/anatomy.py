"""Reads what `cochlear synthesize` makes ears of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.bundle import find_bundle, load_bundle
from model.cli.atlas import FILL_HU, read_frame
from model.errors import InputError, OptionError
from model.geometry.landmarks import Landmarks
from model.synthesis.anatomy import Anatomy
from model.synthesis.real_ear import Background


def read_anatomy(bundle: str, atlas: Path | None, ears: Path | None) -> Anatomy:
    """Read the anatomy of a bundle, or of an atlas with its shape modes, or the real ears of an atlas.

    Args:
        bundle: name or path of a bundle, used without `atlas`.
        atlas: folder that `cochlear atlas` wrote.
        ears: folder of the labelled ears that the atlas was built from.

    Raises:
        InputError: something is not there or cannot be used, or ears are given without their atlas.
    """
    if atlas is not None:
        return _of_atlas(atlas, ears)
    if ears is not None:
        raise OptionError("the surfaces of real ears are kept with their atlas", expected="--atlas with --ears")
    model = load_bundle(find_bundle(bundle))
    if not model.frame.landmarks_ijk:
        raise OptionError(
            "the atlas of this bundle has no landmarks",
            expected="a bundle with landmarks of its atlas",
            found=model.name,
            field="bundle",
        )
    return Anatomy(dict(model.atlas_meshes_ijk), model.frame)


def _of_atlas(folder: Path, ears: Path | None) -> Anatomy:
    """Take an atlas of labelled ears, and the ears themselves when they are asked for."""
    # Building an atlas needs the network library, which no other way of making ears should pay for.
    from model.atlas.build import Atlas
    from model.atlas.labelled_ears import read_labelled_ear

    atlas, frame = Atlas.load(folder), read_frame(folder)
    if ears is None:
        return Anatomy(dict(atlas.meshes_ijk), frame, atlas.modes)
    backgrounds = []
    for name, vertices_ijk in sorted(atlas.ear_vertices_ijk.items()):
        if not (ears / name).is_dir():
            raise InputError("an ear of the atlas is not in the folder of ears", expected=name, field="ears")
        ear = read_labelled_ear(ears / name, frame, fill_hu=FILL_HU)
        landmarks = Landmarks.parse((ears / name / "landmarks.json").read_bytes())
        parts = np.split(vertices_ijk, np.cumsum(list(atlas.counts().values()))[:-1])
        pairs = zip(atlas.meshes_ijk.items(), parts, strict=True)
        meshes = {key: mesh.with_vertices(part) for (key, mesh), part in pairs}
        backgrounds.append(Background.of_labelled(ear, landmarks, meshes))
    return Anatomy(dict(atlas.meshes_ijk), frame, backgrounds=tuple(backgrounds))
