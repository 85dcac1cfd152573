"""From tissue to CT image: point spread, reconstruction noise, field of view and number range."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from model.synthesis.grid import CANONICAL_SPACING_MM, Float32Array, FloatArray, RenderGrid

HU_MIN, HU_MAX = -1024.0, 3071.0
"""Range of 12-bit CT numbers; also the fill outside the field of view (HU_MIN)."""

_FWHM_TO_SIGMA = 1.0 / np.sqrt(8.0 * np.log(2.0))


@dataclass(frozen=True)
class ScannerParameters:
    """Properties of one acquisition.

    Attributes:
        fwhm_mm: point spread (in-plane, in-plane, along the slices), full width at half maximum.
        sharpening: strength of the kernel's edge enhancement, 0 to about 0.5.
        noise_hu: standard deviation of the noise at 0.2 mm voxels.
        noise_fwhm_mm: grain of the noise.
        field_mm: edges of the box that was reconstructed, or None when it covers everything.
        field_centre_ijk: its centre, canonical ijk.
        field_rotation: rotation vector of the box, radians.
    """

    fwhm_mm: tuple[float, float, float]
    sharpening: float
    noise_hu: float
    noise_fwhm_mm: float
    field_mm: tuple[float, float, float] | None
    field_centre_ijk: tuple[float, float, float]
    field_rotation: tuple[float, float, float]

    def to_json(self) -> dict[str, object]:
        """Give the parameters by name."""
        return asdict(self)


def random_scanner(rng: np.random.Generator, full_field_share: float = 0.4) -> ScannerParameters:
    """Draw an acquisition.

    Args:
        rng: source of randomness.
        full_field_share: share of images whose field of view covers the whole crop.
    """
    in_plane = rng.uniform(0.3, 0.6)
    through = in_plane * rng.uniform(0.9, 1.5)
    full = rng.uniform() < full_field_share
    edges = rng.uniform((15.5, 15.0, 17.0), (20.0, 19.0, 21.0))
    return ScannerParameters(
        fwhm_mm=(in_plane, in_plane, min(through, 0.75)),
        sharpening=rng.uniform(0.0, 0.5),
        noise_hu=float(np.exp(rng.uniform(np.log(30), np.log(200)))),
        noise_fwhm_mm=rng.uniform(0.3, 0.6),
        field_mm=None if full else (float(edges[0]), float(edges[1]), float(edges[2])),
        field_centre_ijk=_triple(64.0 + rng.normal(0.0, 0.8 / CANONICAL_SPACING_MM, 3)),
        field_rotation=_triple(rng.normal(0.0, 0.5, 3)),
    )


def _triple(values: FloatArray) -> tuple[float, float, float]:
    """Give three numbers as a tuple."""
    return float(values[0]), float(values[1]), float(values[2])


def blur(hu: Float32Array, parameters: ScannerParameters, grid: RenderGrid) -> Float32Array:
    """Apply the point spread, with the edge enhancement of a sharp kernel.

    The tissue already holds the partial volume of the grid's own voxels. That of canonical voxels counts as part of the
    point spread; coarser voxels keep theirs on top, as if canonical voxels were averaged.
    """
    own_mm2 = CANONICAL_SPACING_MM**2 / 12.0
    variance_mm2 = np.clip((np.array(parameters.fwhm_mm) * _FWHM_TO_SIGMA) ** 2 - own_mm2, 0.002, None)
    sigma = _sampled_sigma(variance_mm2 / grid.spacing_mm**2)
    smooth = gaussian_filter(hu, sigma, truncate=3.0)
    if parameters.sharpening > 0.0:
        smooth += parameters.sharpening * (smooth - gaussian_filter(smooth, 2.0 * sigma, truncate=2.0))
    return np.asarray(smooth, dtype=np.float32)


def _sampled_sigma(variance: FloatArray) -> FloatArray:
    """Give the width of the Gaussian whose samples at integers have the wanted variances (voxels squared).

    Below about half a voxel a sampled Gaussian is narrower than its formula says; three samples hold nearly all of it.
    """
    ratio = np.clip(variance, 0.01, 0.3) / (2.0 * (1.0 - np.clip(variance, 0.01, 0.3)))
    narrow = -0.5 / np.log(ratio)
    wide = variance + 0.025 * np.clip((0.8 - variance) / 0.5, 0.0, 1.0)
    return np.asarray(np.sqrt(np.where(variance < 0.3, narrow, wide)))


def correlated_noise(rng: np.random.Generator, parameters: ScannerParameters, grid: RenderGrid) -> Float32Array:
    """Draw noise that is weak at low and at the highest frequencies, as after filtered back-projection.

    On coarse grids the standard deviation falls as averaging over the larger voxels makes it.
    """
    white = rng.standard_normal((grid.size,) * 3, dtype=np.float32)
    sigma = parameters.noise_fwhm_mm * _FWHM_TO_SIGMA / grid.spacing_mm
    grain = gaussian_filter(white, sigma, truncate=3.0) if sigma > 0.3 else white
    band = grain - 0.7 * gaussian_filter(grain, (2.5 / grid.factor, 2.5 / grid.factor, sigma / 2), truncate=2.0)
    # How far averaging canonical voxels to coarser ones quietens noise of this grain (fitted to doing so).
    grain_mm2 = 2.0 * (parameters.noise_fwhm_mm * _FWHM_TO_SIGMA) ** 2
    quietened = grain_mm2 / (grain_mm2 + 0.0097 * (grid.factor**2 - 1))
    strength = parameters.noise_hu * quietened**0.75
    return np.asarray(band * np.float32(strength / band.std()), dtype=np.float32)


def field_of_view(parameters: ScannerParameters, grid: RenderGrid) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Tell which voxel centres were reconstructed, (n, n, n) bool."""
    if parameters.field_mm is None:
        return np.ones((grid.size,) * 3, dtype=bool)
    rotation = Rotation.from_rotvec(parameters.field_rotation).as_matrix().astype(np.float32)
    axes = [(grid.centres - centre).astype(np.float32) * CANONICAL_SPACING_MM for centre in parameters.field_centre_ijk]
    inside = np.ones((grid.size,) * 3, dtype=bool)
    for row, edge in zip(rotation, parameters.field_mm, strict=True):
        # The box is a product of slabs; each is a sum of three one-dimensional terms.
        along = np.add.outer(np.add.outer(row[0] * axes[0], row[1] * axes[1]), row[2] * axes[2])
        inside &= np.abs(along) <= edge / 2
    return inside


def finish(hu: Float32Array, parameters: ScannerParameters, grid: RenderGrid) -> Float32Array:
    """Clip to 12-bit CT numbers and fill what lies outside the field of view with -1024 HU."""
    clipped = np.clip(hu, HU_MIN, HU_MAX)
    clipped[~field_of_view(parameters, grid)] = HU_MIN
    return clipped
