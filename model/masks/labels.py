"""One label map from several masks that may overlap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from model.structures import LABYRINTH, MODIOLUS, SCALA_TYMPANI, SCALA_VESTIBULI, Structure

PAINTING_ORDER: tuple[Structure, ...] = (LABYRINTH, SCALA_VESTIBULI, SCALA_TYMPANI, MODIOLUS)
"""From the outermost to the innermost structure: the later one wins where masks overlap."""


def label_map(masks: Mapping[str, npt.NDArray[np.bool_]]) -> npt.NDArray[np.uint8]:
    """Merge masks into one map of label values.

    Args:
        masks: bool arrays of one shape, by structure id; structures may be missing.

    Returns:
        uint8 array: 0 background, otherwise the label of the innermost structure. The labyrinth keeps what no inner
        structure takes, so its full extent is only in its own mask.

    Raises:
        ValueError: when there are no masks.
    """
    if not masks:
        raise ValueError("label_map: expected at least one mask")
    labels = np.zeros(next(iter(masks.values())).shape, dtype=np.uint8)
    for structure in PAINTING_ORDER:
        if structure.id in masks:
            labels[masks[structure.id]] = structure.label
    return labels
