"""Metal artifacts of CT, by simulating the measurement.

Polychromatic projection, logarithm, filtered back-projection: per axial slice and in parallel geometry, the sinogram of
the platinum is known in closed form (Gaussian lumps) and that of bone and soft tissue round it is projected from the
image. A spectrum behind a head turns both into intensities, which the detector averages before the logarithm: that
non-linear step makes beam hardening and edge streaks, and few photons make streaks of noise. The reconstruction of
(with metal) minus (without) is what the metal adds to an image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_matrix

from model.geometry.spaces import apply_affine
from model.synthesis.electrode import ElectrodeArray
from model.synthesis.grid import Float32Array
from model.synthesis.radon import (
    BIN_MM,
    BINS,
    REACH_MM,
    back_projector,
    between_coarse_bins,
    ramp_filtered,
)
from model.synthesis.scan import ScanFrame, Slices
from model.synthesis.sinogram import Surrounding, platinum_sinogram, thin_planes, tissue_sinograms
from model.synthesis.spectrum import WATER_PER_MM, detected_weights, passed_tissue, transmitted

_FWHM = 2.355
_FADE_MM = 1.7
_LEAST_PATH_MM = 1e-6
_LEAST_LOSS = 1e-5
_LEAST_INTENSITY, _LEAST_COUNTS = np.float32(1e-6), np.float32(1e-3)
_ELECTRONIC_COUNTS = 10.0


@dataclass(frozen=True)
class MetalParameters:
    """Properties of the acquisition that shape the artifact.

    Attributes:
        head_water_mm, head_bone_mm: what the beam crosses besides the crop.
        scatter: share of the mean intensity that reaches the detector scattered.
        aperture_mm: detector width at the isocentre, full width at half maximum.
        slice_mm: slice thickness, full width at half maximum.
        photons: photons per detector element behind the head; fewer give noisier streaks.
        cutoff: of the Hann window of the ramp filter, share of the Nyquist frequency.
        views: projections over half a turn.
    """

    head_water_mm: float
    head_bone_mm: float
    scatter: float
    aperture_mm: float
    slice_mm: float
    photons: float
    cutoff: float
    views: int

    def to_json(self) -> dict[str, float]:
        """Give the parameters by name."""
        return asdict(self)


def random_metal(rng: np.random.Generator, views: int, slice_mm: float | None = None) -> MetalParameters:
    """Draw an acquisition.

    Args:
        rng: source of randomness.
        views: projections over half a turn.
        slice_mm: slice thickness where it is known, or None to draw it.
    """
    drawn = rng.uniform(0.4, 0.7)
    return MetalParameters(
        head_water_mm=rng.uniform(120, 180),
        head_bone_mm=rng.uniform(10, 25),
        scatter=rng.uniform(0.02, 0.12),
        aperture_mm=rng.uniform(0.4, 0.6),
        slice_mm=slice_mm or drawn,
        photons=float(np.exp(rng.uniform(np.log(1e3), np.log(2e4)))),
        cutoff=rng.uniform(0.5, 1.0),
        views=views,
    )


def metal_artifact(
    array: ElectrodeArray,
    frame: ScanFrame,
    slices: Slices,
    surrounding: Surrounding | None,
    parameters: MetalParameters,
    rng: np.random.Generator,
    projector: csr_matrix | None = None,
) -> Float32Array:
    """Give what an electrode array adds to a clean image, in HU.

    Args:
        array: the platinum.
        frame: which way the scanner's axis points.
        slices: where to reconstruct.
        surrounding: the tissue round the metal; None for nothing but the head.
        parameters: the acquisition.
        rng: source of the noise in the shadow of the metal.
        projector: `back_projector` of the pixels within `REACH_MM`, where it is used often.

    Returns:
        (p, s) float32 for pixels and slices; zero in slices without metal and beyond 18.2 mm from the centre.
    """
    artifact = np.zeros((len(slices.uv_mm), len(slices.heights_mm)), dtype=np.float32)
    line, hit = _measured(array, frame, slices, surrounding, parameters, rng)
    if not hit.any():
        return artifact
    distance = np.hypot(*slices.uv_mm.T)
    near = distance < REACH_MM
    filtered = ramp_filtered(line, parameters.cutoff, slices.pixel_mm).reshape(parameters.views * BINS, -1)
    if projector is None:
        projector = back_projector(slices.uv_mm[near], parameters.views)
    picture = projector @ filtered
    fade = np.clip((REACH_MM - distance[near]) / _FADE_MM, 0.0, 1.0).astype(np.float32)
    weights = detected_weights(parameters.head_water_mm, parameters.head_bone_mm)
    picture *= fade[:, None] * np.float32(1000.0 / (weights @ WATER_PER_MM))
    artifact[np.ix_(near, hit)] = picture
    return artifact


def _measured(
    array: ElectrodeArray,
    frame: ScanFrame,
    slices: Slices,
    surrounding: Surrounding | None,
    parameters: MetalParameters,
    rng: np.random.Generator,
) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
    """Give minus-log intensities relative to the scan without metal, (views, BINS, planes), and the slices they are of.

    Detector and slice see intensity, so the averages over aperture and slice thickness come before the logarithm; for
    the latter the sinogram is made on thin planes.
    """
    pieces = apply_affine(frame.from_canonical, array.pieces_ijk)
    thin, to_slices, hit = thin_planes(pieces[:, 2], slices.heights_mm, parameters.slice_mm)
    if not hit.any():
        return np.zeros((parameters.views, BINS, 0), dtype=np.float32), hit
    platinum = np.ravel(platinum_sinogram(array, pieces, thin, parameters.views))
    water, bone = tissue_sinograms(surrounding, thin, parameters.views)
    rays = np.flatnonzero(platinum > _LEAST_PATH_MM)
    at = between_coarse_bins(rays, len(thin))
    weights = detected_weights(parameters.head_water_mm, parameters.head_bone_mm)
    lost = np.zeros_like(platinum)
    lost[rays] = 1.0 - transmitted(platinum[rays], at(water), at(bone), weights)
    sliced = (lost.reshape(-1, len(thin)) @ to_slices).reshape(parameters.views, BINS, -1)
    blurred = gaussian_filter1d(sliced, parameters.aperture_mm / _FWHM / BIN_MM, axis=1, truncate=3.0).ravel()
    rays = np.flatnonzero(blurred > _LEAST_LOSS)
    counts = parameters.photons * passed_tissue(water, bone, weights) @ (to_slices / to_slices.sum(axis=0))
    line = np.zeros_like(blurred)
    intensity = 1.0 - blurred[rays] / np.float32(1.0 + parameters.scatter)
    line[rays] = _logarithm(intensity, between_coarse_bins(rays, sliced.shape[2])(counts), rng)
    return line.reshape(sliced.shape), hit


def _logarithm(intensity: Float32Array, counts: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Take minus the logarithm of intensities, with the noise that metal adds by leaving few photons.

    Args:
        intensity: (n,) share that passes the metal.
        counts: (n,) photons of the same rays without metal.
        rng: source of the noise.
    """
    # Rounding in the blur may leave a ray behind thick metal nothing, or less.
    intensity, counts = np.maximum(intensity, _LEAST_INTENSITY), np.maximum(counts, _LEAST_COUNTS)
    with_metal = counts * intensity
    extra = 1.0 / with_metal - 1.0 / counts
    extra += _ELECTRONIC_COUNTS**2 * (1.0 / with_metal**2 - 1.0 / counts**2)
    noise = rng.standard_normal(len(intensity), dtype=np.float32) * np.sqrt(np.clip(extra, 0.0, None))
    # A detector reports one photon at the least.
    least = np.minimum(1.0 / counts, intensity)
    return np.asarray(-np.log(np.maximum(intensity * (1.0 + noise), least)), dtype=np.float32)
