"""From tissue to CT image: point spread, reconstruction noise, field of view and number range.

Point spread and noise are those of slices in the scanner's own pose. Both are filters of the spatial frequency f, split
into its part within the slices and its part along the scanner's axis:

- point spread: Gaussians of the stated widths times the edge enhancement of a sharp kernel;
- noise power of filtered back-projection: |f| within the slices (the ramp) times a Gaussian, and a Gaussian with the
  linear interpolation between slices along the axis (Kak and Slaney 1988, chapter 5).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import fftfreq, irfftn, next_fast_len, rfftfreq, rfftn
from scipy.spatial.transform import Rotation

from model.synthesis.grid import CANONICAL_SPACING_MM, Float32Array, FloatArray, RenderGrid

HU_MIN, HU_MAX = -1024.0, 3071.0
"""Range of 12-bit CT numbers; also the fill outside the field of view (HU_MIN)."""

_FWHM_TO_SIGMA = 1.0 / np.sqrt(8.0 * np.log(2.0))
_PATIENT_TURN, _SPECIMEN_TURN = 0.15, 0.5
_PADDING_MM = 2.0
_RAMP_FLOOR = 0.15
_REFERENCE = 32


@dataclass(frozen=True)
class ScannerParameters:
    """Properties of one acquisition.

    Attributes:
        fwhm_mm: point spread (in-plane, in-plane, along the slices), full width at half maximum.
        sharpening: strength of the kernel's edge enhancement, 0 to about 0.8.
        slice_mm: distance of the slices.
        noise_hu: standard deviation of the noise at 0.2 mm voxels.
        noise_fwhm_mm: grain of the noise.
        rotation: rotation vector (radians) from the canonical axes to the scanner's; its slices, its noise, its
            artifacts and the box it reconstructs follow it.
        field_mm: edges of the box that was reconstructed, or None when it covers everything.
        field_centre_ijk: its centre, canonical ijk.
    """

    fwhm_mm: tuple[float, float, float]
    sharpening: float
    slice_mm: float
    noise_hu: float
    noise_fwhm_mm: float
    rotation: tuple[float, float, float]
    field_mm: tuple[float, float, float] | None
    field_centre_ijk: tuple[float, float, float]

    def to_json(self) -> dict[str, object]:
        """Give the parameters by name."""
        return asdict(self)

    @property
    def axes(self) -> FloatArray:
        """(3, 3) rows are the scanner's axes, the last from slice to slice, along the canonical ones."""
        return np.asarray(Rotation.from_rotvec(self.rotation).as_matrix())


def random_scanner(rng: np.random.Generator, full_field_share: float = 0.4) -> ScannerParameters:
    """Draw an acquisition: heads lie nearly straight, specimens with a small field of view as they come.

    Args:
        rng: source of randomness.
        full_field_share: share of images whose field of view covers the whole crop.
    """
    in_plane = rng.uniform(0.25, 0.55)
    slice_mm = float(np.exp(rng.uniform(np.log(0.15), np.log(0.6))))
    through = max(slice_mm, in_plane * rng.uniform(0.9, 1.3))
    full = rng.uniform() < full_field_share
    edges = rng.uniform((13.5, 13.5, 14.0), (20.0, 19.0, 22.0))
    return ScannerParameters(
        fwhm_mm=(in_plane, in_plane, min(through, 0.75)),
        sharpening=rng.uniform(0.0, 0.8),
        slice_mm=slice_mm,
        noise_hu=float(np.exp(rng.uniform(np.log(45), np.log(220)))),
        noise_fwhm_mm=rng.uniform(0.28, 0.5),
        rotation=_triple(rng.normal(0.0, _PATIENT_TURN if full else _SPECIMEN_TURN, 3)),
        field_mm=None if full else _triple(edges),
        field_centre_ijk=_triple(64.0 + rng.normal(0.0, 0.8 / CANONICAL_SPACING_MM, 3)),
    )


def _triple(values: FloatArray) -> tuple[float, float, float]:
    """Give three numbers as a tuple."""
    return float(values[0]), float(values[1]), float(values[2])


def blur(hu: Float32Array, parameters: ScannerParameters, grid: RenderGrid) -> Float32Array:
    """Apply the point spread, with the edge enhancement of a sharp kernel, to a cube of voxels of the grid's spacing.

    The tissue already holds the partial volume of the grid's own voxels. That of canonical voxels counts as part of the
    point spread; coarser voxels keep theirs on top, as if canonical voxels were averaged.
    """
    margin = round(_PADDING_MM / grid.spacing_mm)
    length = hu.shape[0]
    size = next_fast_len(length + 2 * margin, real=True)
    padded = np.pad(hu, ((margin, size - length - margin),) * 3, mode="edge")
    within, along = _squared_frequencies(parameters, size, grid.spacing_mm)
    own_mm2 = CANONICAL_SPACING_MM**2 / 12.0
    variance = [max((width * _FWHM_TO_SIGMA) ** 2 - own_mm2, 0.002) for width in parameters.fwhm_mm[1:]]
    transfer = np.exp(
        np.float32(-2.0 * np.pi**2 * variance[0]) * within - np.float32(2.0 * np.pi**2 * variance[1]) * along
    )
    if parameters.sharpening > 0.0:
        transfer *= 1.0 + np.float32(parameters.sharpening) * (1.0 - transfer**4)
    blurred = irfftn(rfftn(padded) * transfer, padded.shape, overwrite_x=True)
    inner = slice(margin, margin + length)
    return np.ascontiguousarray(blurred[inner, inner, inner], dtype=np.float32)


def correlated_noise(rng: np.random.Generator, parameters: ScannerParameters, grid: RenderGrid) -> Float32Array:
    """Draw noise with the grain and the directions of filtered back-projection.

    On coarse grids the standard deviation falls as averaging over the larger voxels makes it.
    """
    white = rng.standard_normal((grid.size,) * 3, dtype=np.float32)
    amplitude = np.sqrt(_noise_power(parameters, grid.size, grid.spacing_mm))
    noise = irfftn(rfftn(white) * amplitude, white.shape, overwrite_x=True)
    power = _noise_power(parameters, _REFERENCE, CANONICAL_SPACING_MM)
    kept = np.sqrt(float((power * _averaging(grid.factor)).sum() / power.sum()))
    return np.asarray(noise * np.float32(parameters.noise_hu * kept / noise.std()), dtype=np.float32)


def _noise_power(parameters: ScannerParameters, size: int, spacing_mm: float) -> Float32Array:
    """Give the noise power on the half spectrum of a cube, up to a factor."""
    within, along = _squared_frequencies(parameters, size, spacing_mm)
    grain = (2.0 * np.pi * parameters.noise_fwhm_mm * _FWHM_TO_SIGMA) ** 2
    thickness = (2.0 * np.pi * parameters.fwhm_mm[2] * _FWHM_TO_SIGMA) ** 2
    ramp = np.sqrt(within) + np.float32(_RAMP_FLOOR / parameters.noise_fwhm_mm)
    between_slices = np.sinc(np.sqrt(along) * np.float32(parameters.slice_mm)) ** 4
    return np.asarray(ramp * between_slices * np.exp(-grain * within - thickness * along), dtype=np.float32)


def _averaging(factor: int) -> FloatArray:
    """Give the power that the average of `factor` canonical voxels per axis keeps, on the reference spectrum."""
    transfers = []
    for frequency in (fftfreq(_REFERENCE), fftfreq(_REFERENCE), rfftfreq(_REFERENCE)):
        steps = np.exp(2j * np.pi * np.outer(np.arange(factor), frequency))
        transfers.append(np.abs(steps.mean(axis=0)) ** 2)
    return np.asarray(np.einsum("i,j,k->ijk", *transfers))


def _squared_frequencies(
    parameters: ScannerParameters, size: int, spacing_mm: float
) -> tuple[Float32Array, Float32Array]:
    """Give squared frequencies (1/mm²) within slices and along the scanner's axis, on the half spectrum of a cube."""
    total, (x, y, z) = _frequencies(size, spacing_mm)
    w = parameters.axes[2].astype(np.float32)
    along = (np.add.outer(np.add.outer(w[0] * x, w[1] * y), w[2] * z)) ** 2
    return np.maximum(total - along, 0.0), along


@lru_cache(maxsize=4)
def _frequencies(size: int, spacing_mm: float) -> tuple[Float32Array, tuple[Float32Array, Float32Array, Float32Array]]:
    """Give the squared frequencies of the half spectrum of a cube and those of its axes (1/mm)."""
    full = fftfreq(size, spacing_mm).astype(np.float32)
    half = rfftfreq(size, spacing_mm).astype(np.float32)
    return np.add.outer(np.add.outer(full**2, full**2), half**2), (full, full, half)


def field_of_view(parameters: ScannerParameters, grid: RenderGrid) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Tell which voxel centres were reconstructed, (n, n, n) bool."""
    if parameters.field_mm is None:
        return np.ones((grid.size,) * 3, dtype=bool)
    rotation = parameters.axes.astype(np.float32)
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
