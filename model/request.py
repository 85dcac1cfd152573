"""One image and what came with it, checked as a whole: what the service, the worker and the command line share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.errors import ImageError, LandmarksError
from model.geometry.alignment import Alignment, align_by_landmarks, align_prepared, reconcile_sides
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks, Side
from model.geometry.spaces import apply_affine
from model.volumes.intensity import IntensityRule, in_stored_range
from model.volumes.read import read_image
from model.volumes.resample import FloatImage, resample_to_canonical
from model.volumes.volume import ImageLimits, Volume

HIGH_RESIDUAL_MM = 0.8
"""Residual (rms) from which a warning is given; the worst of 14 real ears has 0.53."""

COARSE_MM = 0.7
"""Spacing from which a warning is given: the scalae are about 1 mm wide."""

OBLIQUE_DEG = 25.0
"""Tilt of a prepared crop from which a warning is given: beyond 45 degrees the nearest axes are no longer the ear's."""

_SPACING_TOLERANCE = 0.01
_SQUARE_TOLERANCE = 0.01


@dataclass(frozen=True)
class CheckedRequest:
    """An image that can be segmented.

    Attributes:
        volume: the patient image.
        kind: `raw` CT with landmarks, or a `prepared` crop that lies in the canonical pose with values in [-1, 1].
        alignment: where the canonical frame lies in the patient.
        side: the ear.
        warnings: what is unusual, in sentences for people.
    """

    volume: Volume
    kind: Literal["raw", "prepared"]
    alignment: Alignment
    side: Side
    warnings: tuple[str, ...]

    def canonical_image(self, frame: CanonicalFrame, rule: IntensityRule) -> tuple[FloatImage, npt.NDArray[np.bool_]]:
        """Sample the image on the canonical grid and map its values to network input.

        Prepared crops are taken as stored, whatever the rule; raw CT is resampled, filled with the rule's `fill_hu`
        outside the field of view, and mapped.

        Returns:
            float32 image in [-1, 1] and bool mask of the field of view, both [i, j, k] on the frame's grid.

        Raises:
            ImageError: the rule is `as_stored` and the image is raw CT, or `min_max` finds no contrast in it.
        """
        image, inside = resample_to_canonical(self.volume, self.alignment, frame, rule.fill_hu)
        return (image if self.kind == "prepared" else rule.apply(image, inside)), inside


def check_request(
    image: Path,
    *,
    landmarks: Landmarks | None,
    side: Side | None,
    frame: CanonicalFrame,
    limits: ImageLimits | None = None,
    intensity: IntensityRule | None = None,
) -> CheckedRequest:
    """Check an image with what came with it, and align it.

    With landmarks the image is raw CT. Without, it must be a prepared crop: the frame's grid and spacing (in any axis
    order), values in [-1, 1].

    Args:
        image: NIfTI file.
        landmarks: of the ear, or None.
        side: the ear, or None when the landmarks say it. A prepared crop without a side is taken as it lies, which is
            right for left ears and for right ears that were mirrored when the crop was made.
        frame: canonical frame of the model that will be used.
        limits: what is accepted as an image; None for the defaults.
        intensity: the model's intensity rule, to refuse images it cannot take; None leaves that check out.

    Raises:
        ImageError: the image cannot be read, or is neither raw CT with landmarks nor a prepared crop.
        LandmarksError: the landmarks cannot be used, lie outside the image, or contradict the side.
    """
    known_side = reconcile_sides(landmarks.side if landmarks is not None else None, side)
    volume = read_image(image, limits)
    if landmarks is None:
        return _prepared(volume, known_side, frame)
    return _raw(volume, landmarks, known_side, frame, intensity)


def _raw(
    volume: Volume, landmarks: Landmarks, side: Side | None, frame: CanonicalFrame, intensity: IntensityRule | None
) -> CheckedRequest:
    """Check and align raw CT with its landmarks."""
    if not volume.affine_declared:
        raise _refusal(
            "the image does not say where it lies, so the landmarks cannot be placed in it",
            "a header with an sform or a qform",
            "neither",
            "convert the DICOM series again, keeping its geometry",
        )
    prepared_values = in_stored_range(volume.data)
    if intensity is not None and prepared_values != (intensity.rule == "as_stored"):
        expected = "values from -1 to 1" if intensity.rule == "as_stored" else "a raw CT in Hounsfield units"
        hint = "leave out the landmarks if this is a prepared crop" if prepared_values else "choose a model for raw CT"
        raise _refusal("this model cannot take the image's intensities", expected, _range(volume), hint)
    _check_inside(volume, landmarks)
    alignment = align_by_landmarks(landmarks, side, frame)
    return CheckedRequest(
        volume, "raw", alignment, alignment.side, (*volume.warnings, *_raw_warnings(volume, alignment))
    )


def _prepared(volume: Volume, side: Side | None, frame: CanonicalFrame) -> CheckedRequest:
    """Check and align a prepared crop."""
    problems = _unlike_prepared(volume, side, frame)
    if problems:
        raise _refusal(
            "the image is not a prepared crop, and raw CT needs landmarks",
            f"raw CT with at least 3 landmarks, or a crop of {_times(frame.grid)} voxels of {frame.spacing_mm:g} mm "
            "with values from -1 to 1",
            " and ".join(problems),
            "send the landmarks of the ear with the image",
        )
    alignment = align_prepared(volume.affine, side, frame)
    notes = []
    if side is None:
        notes.append("No side was stated; the prepared crop is taken as it lies, as of a left ear.")
    permuted = np.abs(alignment.ras_to_canonical @ volume.affine - np.eye(4)).max() > 1e-3
    if permuted and side != "right":
        notes.append("The array axes of the prepared crop were put in the order L, P, S by its affine.")
    tilt = _tilt_deg(volume)
    if tilt > OBLIQUE_DEG:
        notes.append(f"The prepared crop's axes lie {tilt:.0f} degrees off the patient's; the nearest ones were taken.")
    return CheckedRequest(volume, "prepared", alignment, alignment.side, (*volume.warnings, *notes))


def _unlike_prepared(volume: Volume, side: Side | None, frame: CanonicalFrame) -> list[str]:
    """Say what tells an image from a prepared crop; nothing when it is one."""
    problems = []
    array_to_canonical = align_prepared(volume.affine, side, frame).ras_to_canonical @ volume.affine
    shape = np.abs(array_to_canonical[:3, :3]).round().astype(int) @ np.array(volume.shape)
    if tuple(shape) != frame.grid:
        problems.append(f"{_times(volume.shape)} voxels")
    if not np.allclose(volume.spacing_mm, frame.spacing_mm, rtol=_SPACING_TOLERANCE):
        problems.append("a spacing of " + " x ".join(f"{size:.3g}" for size in volume.spacing_mm) + " mm")
    if not in_stored_range(volume.data):
        problems.append(_range(volume))
    directions = volume.affine[:3, :3] / np.array(volume.spacing_mm)
    if np.abs(directions.T @ directions - np.eye(3)).max() > _SQUARE_TOLERANCE:
        problems.append("axes that are not at right angles")
    return problems


def _tilt_deg(volume: Volume) -> float:
    """Largest angle between an array axis and the patient axis nearest to it."""
    cosines = np.abs(volume.affine[:3, :3] / np.array(volume.spacing_mm)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), 0.0, 1.0))))


def _check_inside(volume: Volume, landmarks: Landmarks) -> None:
    """Refuse landmarks that lie outside the image."""
    points_ijk = apply_affine(np.linalg.inv(volume.affine), list(landmarks.points_ras.values()))
    outside = np.any((points_ijk < -0.5) | (points_ijk > np.array(volume.shape) - 0.5), axis=1)
    if outside.any():
        names = [name for name, out in zip(landmarks.points_ras, outside, strict=True) if out]
        raise LandmarksError(
            "landmarks lie outside the image",
            expected="all landmarks within the field of view",
            found=f"{', '.join(names)} outside",
            hint="check that image and landmarks belong together, and that the space (RAS or LPS) is stated rightly",
            field="landmarks",
        )


def _raw_warnings(volume: Volume, alignment: Alignment) -> list[str]:
    """Say what is unusual about a raw CT and its alignment."""
    notes = []
    residual = alignment.residual_mm or 0.0
    if residual > HIGH_RESIDUAL_MM:
        notes.append(f"The landmarks fit the frame only to {residual:.2f} mm (rms); check them.")
    if not alignment.side_confirmed:
        notes.append("The landmarks given fit both sides; that the side is right could not be checked.")
    if max(volume.spacing_mm) > COARSE_MM:
        notes.append(f"The image is coarse ({max(volume.spacing_mm):.2g} mm); expect less accurate surfaces.")
    return notes


def _range(volume: Volume) -> str:
    """Write the range of an image's values."""
    return f"values from {volume.data.min():g} to {volume.data.max():g}"


def _times(sizes: tuple[int, ...]) -> str:
    """Write sizes as 64 x 64 x 32."""
    return " x ".join(str(size) for size in sizes)


def _refusal(detail: str, expected: str, found: str, hint: str) -> ImageError:
    """Build the error of an image that cannot be used."""
    return ImageError(detail, expected=expected, found=found, hint=hint, field="image")
