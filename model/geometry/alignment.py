"""Rigid alignment of a patient's ear with the canonical frame.

The thresholds rest on the landmarks of 14 ears of W. Wimmer et al., "Human bony labyrinth dataset", Data in Brief 27
(2019) 104782.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import nibabel
import numpy as np
import numpy.typing as npt

from model.errors import LandmarksError
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks, Side
from model.geometry.rigid import fit_rigid, spread

FloatArray = npt.NDArray[np.float64]

MIN_SPREAD_MM = 0.4
"""Landmarks whose second singular value is below this count as lying on one line (real triples: 0.63 and more)."""

MAX_RESIDUAL_MM = 1.5
"""Largest accepted rms residual (real ears, any three or more landmarks: at most 0.60)."""

SIDE_RATIO = 1.5
"""A side is clearly the better one when its rms residual is smaller by this factor ..."""

SIDE_MARGIN_MM = 0.3
"""... and by this many millimetres (real ears, five landmarks: factor 3.5 and 1.3 mm at least)."""

_RAS_MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Alignment:
    """Where the canonical frame lies in the patient.

    Attributes:
        ras_to_canonical: (4, 4) matrix, RAS mm -> canonical ijk; includes the mirroring of a right ear.
        side: the patient's ear.
        method: `landmarks` (rigid fit) or `prepared` (the image lies in the frame already).
        residual_mm: rms distance left between landmarks and frame, None without landmarks.
        landmark_residuals_mm: the same per landmark, by name.
        side_confirmed: whether the landmarks speak clearly for `side`; False when they fit both sides alike.
    """

    ras_to_canonical: FloatArray
    side: Side
    method: Literal["landmarks", "prepared"]
    residual_mm: float | None = None
    landmark_residuals_mm: Mapping[str, float] = field(default_factory=dict)
    side_confirmed: bool = False

    @property
    def canonical_to_ras(self) -> FloatArray:
        """(4, 4) matrix, canonical ijk -> RAS mm."""
        return np.asarray(np.linalg.inv(self.ras_to_canonical), dtype=np.float64)

    @property
    def mirrored(self) -> bool:
        """Whether the ear is shown mirrored in the canonical frame (it is a right one)."""
        return self.side == "right"

    def to_json(self) -> dict[str, Any]:
        """Give the alignment as plain JSON values, for reports."""
        return {
            "method": self.method,
            "side": self.side,
            "side_confirmed": self.side_confirmed,
            "mirrored": self.mirrored,
            "residual_mm": self.residual_mm,
            "landmark_residuals_mm": dict(self.landmark_residuals_mm),
            "ras_to_canonical": self.ras_to_canonical.tolist(),
        }


@dataclass(frozen=True)
class _Fit:
    """Rigid fit of one side: matrix RAS mm -> canonical ijk, distances left in mm."""

    side: Side
    matrix: FloatArray
    residuals_mm: FloatArray

    @property
    def rms_mm(self) -> float:
        return float(np.sqrt(np.mean(self.residuals_mm**2)))

    def clearly_better_than(self, other: _Fit) -> bool:
        """Whether this side fits better beyond doubt."""
        gain = other.rms_mm - self.rms_mm
        return gain >= SIDE_MARGIN_MM and other.rms_mm >= SIDE_RATIO * self.rms_mm


def align_by_landmarks(landmarks: Landmarks, side: Side | None, frame: CanonicalFrame) -> Alignment:
    """Bring an ear into the canonical frame by its landmarks: rotation and translation, right ears mirrored first.

    Args:
        landmarks: at least three landmarks in RAS mm.
        side: the ear; None takes the side stated with the landmarks, else the one that fits clearly better.
        frame: the canonical frame.

    Raises:
        LandmarksError: fewer than three landmarks known to the frame, on one line, of contradicting or wrong side, of
            undecidable side, or further than `MAX_RESIDUAL_MM` (rms) from the frame's.
    """
    side = reconcile_sides(landmarks.side, side)
    names = [name for name in frame.landmarks_ijk if name in landmarks.points_ras]
    if len(names) < 3:
        known = ", ".join(frame.landmarks_ijk) or "none (this model takes prepared crops only)"
        raise _refusal("there are too few landmarks", f"at least 3 of {known}", str(len(names)))
    points_ras = np.array([landmarks.points_ras[name] for name in names], dtype=np.float64)
    extent = spread(points_ras)
    if extent[1] < MIN_SPREAD_MM:
        expected = f"points spread by {MIN_SPREAD_MM} mm or more across their longest direction"
        raise _refusal("the landmarks lie on one line, which leaves the rotation open", expected, f"{extent[1]:.2f} mm")
    chosen, confirmed = _choose_side(points_ras, names, side, frame)
    if chosen.rms_mm > MAX_RESIDUAL_MM:
        worst = names[int(np.argmax(chosen.residuals_mm))]
        raise _refusal(
            "the landmarks do not fit an ear",
            f"a residual of at most {MAX_RESIDUAL_MM} mm (rms)",
            f"{chosen.rms_mm:.2f} mm, largest at {worst}",
            "check names, positions, space and unit of the landmarks",
        )
    residuals = {name: float(value) for name, value in zip(names, chosen.residuals_mm, strict=True)}
    matrix = chosen.matrix
    return Alignment(matrix, chosen.side, "landmarks", chosen.rms_mm, MappingProxyType(residuals), confirmed)


def align_prepared(affine: npt.ArrayLike, side: Side | None, frame: CanonicalFrame) -> Alignment:
    """Take an image that lies in the canonical pose already: its array axes, put in the order L, P, S, are the frame's.

    The affine says which way each array axis points; the nearest patient axis counts, so all 48 orders and flips of one
    crop mean the same ear. A right ear in head pose is mirrored in i (i -> size - 1 - i). Without a side nothing is
    mirrored: published crops of right ears are stored mirrored.

    Args:
        affine: (4, 4) array ijk -> RAS mm of the crop, invertible.
        side: the ear, or None for `left`.
        frame: the canonical frame; the crop has its grid.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    side = "left" if side is None else side
    array_to_canonical = _axes_to_lps(matrix, frame)
    if side == "right":
        mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
        mirror[0, 3] = frame.grid[0] - 1
        array_to_canonical = mirror @ array_to_canonical
    return Alignment(np.asarray(array_to_canonical @ np.linalg.inv(matrix)), side, "prepared")


def reconcile_sides(landmarks_side: Side | None, side: Side | None) -> Side | None:
    """Give the one side that was stated, if any.

    Raises:
        LandmarksError: the landmarks and the request name different sides.
    """
    if landmarks_side is not None and side is not None and landmarks_side != side:
        raise LandmarksError(
            "the landmarks are of another side than the one asked for",
            expected=f"one side, as asked for: {side}",
            found=f"landmarks of a {landmarks_side} ear",
            field="side",
        )
    return side if side is not None else landmarks_side


def _axes_to_lps(affine: FloatArray, frame: CanonicalFrame) -> FloatArray:
    """(4, 4) signed permutation, array ijk -> canonical ijk, by the nearest patient axes of an affine."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    for array_axis, (ras_axis, ras_sign) in enumerate(nibabel.io_orientation(affine)):
        canonical_axis = int(ras_axis)
        lps_sign = float(ras_sign) * (1.0 if canonical_axis == 2 else -1.0)
        matrix[canonical_axis, array_axis] = lps_sign
        if lps_sign < 0:
            matrix[canonical_axis, 3] = frame.grid[canonical_axis] - 1
    return matrix


def _fit_side(points_ras: FloatArray, names: list[str], side: Side, frame: CanonicalFrame) -> _Fit:
    """Fit the landmarks as those of one side."""
    mirror = _RAS_MIRROR if side == "right" else np.eye(4)
    target_mm = np.array([frame.landmarks_ijk[name] for name in names], dtype=np.float64) * frame.spacing_mm
    rigid, residuals = fit_rigid(points_ras @ mirror[:3, :3].T, target_mm)
    to_voxels = np.diag([1.0 / frame.spacing_mm] * 3 + [1.0])
    return _Fit(side, np.asarray(to_voxels @ rigid @ mirror), residuals)


def _choose_side(
    points_ras: FloatArray, names: list[str], side: Side | None, frame: CanonicalFrame
) -> tuple[_Fit, bool]:
    """Settle the side from what was stated and how both sides fit.

    Three landmarks fit both sides alike (a triangle is its own mirror image), so they never decide.

    Returns:
        The fit of the settled side, and whether the fit speaks clearly for it.
    """
    left, right = (_fit_side(points_ras, names, candidate, frame) for candidate in ("left", "right"))
    stated, other = (right, left) if side == "right" else (left, right)
    if side is not None:
        if other.clearly_better_than(stated):
            raise LandmarksError(
                f"the landmarks are not those of a {side} ear",
                expected=f"landmarks of a {side} ear",
                found=f"{stated.rms_mm:.2f} mm rms as {side}, {other.rms_mm:.2f} mm as {other.side}",
                hint="state the other side or check the landmarks",
                field="landmarks",
            )
        return stated, stated.clearly_better_than(other)
    best, worst = sorted((left, right), key=lambda fit: fit.rms_mm)
    if not best.clearly_better_than(worst):
        raise LandmarksError(
            "the landmarks alone do not tell a left ear from a right one",
            expected="the side, or more landmarks",
            found=f"{len(names)} landmarks that fit both sides alike",
            hint="state side as left or right",
            field="side",
        )
    return best, True


def _refusal(detail: str, expected: str, found: str, hint: str | None = None) -> LandmarksError:
    """Build the error of landmarks that cannot be used."""
    return LandmarksError(detail, expected=expected, found=found, hint=hint, field="landmarks")
