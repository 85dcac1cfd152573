"""What bundles of the release say of themselves; nothing is stated that the release does not state."""

from __future__ import annotations

from model.bundle.schema import MinMax, TrainingSection
from model.geometry.frame import CanonicalFrame
from model.release.frame import CANONICAL_GRID

VERSION = "1"
LICENCE = "None stated by the publisher; ask the authors before redistribution."
CITATION = "The published study of the release; cite it together with this program."
INTENDED_USE = "Research use only: comparison with the published method. Not for diagnosis or treatment."

INTENSITY = MinMax()
"""Rule for raw CT. The release asks for crops rescaled to [-1, 1] and scales its own atlas by minimum and maximum, so
the crop's extremes become -1 and 1. They are held within what 12 bits of Hounsfield units hold, so that the padding of
a scanner or an extended scale of metal does not take the contrast."""


def limits(frame: CanonicalFrame) -> tuple[str, ...]:
    """Give the limits of a model of the release.

    Args:
        frame: the frame of its crops.
    """
    rule = INTENSITY
    said = (
        "Prepared crops are taken as stored, intensities in [-1, 1], as the published method asks.",
        f"Raw CT: the lowest and highest value of the crop, held within {rule.low:g} and {rule.high:g} HU, become -1 "
        "and 1. How the publisher scaled its crops is not stated; a voxel of metal changes the grey of all others, and "
        "the scores of the study do not hold.",
        "The publisher states no landmarks; those of the canonical frame align raw CT.",
    )
    if frame.grid == CANONICAL_GRID:
        return said
    return (*said, "The crop is taken to lie in the middle of the canonical one, which has another grid.")


def training(method: str) -> TrainingSection:
    """Say what a model of the release was trained on."""
    return TrainingSection(data=f"As published, method {method}.", details={"method": method})
