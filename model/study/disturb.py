"""Landmarks set less carefully than they were."""

from __future__ import annotations

import numpy as np

from model.geometry.frame import Point
from model.geometry.landmarks import Landmarks


def disturbed(landmarks: Landmarks, rms_mm: float, rng: np.random.Generator) -> Landmarks:
    """Move every landmark by an independent error.

    Args:
        landmarks: as set.
        rms_mm: root mean square length of the displacement: Gaussian with standard deviation rms / sqrt(3) per axis.
        rng: source of randomness.
    """
    points: dict[str, Point] = {}
    for name, point in landmarks.points_ras.items():
        x, y, z = np.asarray(point) + rng.standard_normal(3) * rms_mm / np.sqrt(3.0)
        points[name] = (round(float(x), 4), round(float(y), 4), round(float(z), 4))
    return Landmarks(points, landmarks.side)
