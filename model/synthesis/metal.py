"""Metal artifacts of CT, by simulating the measurement.

Polychromatic projection, logarithm, filtered back-projection: per axial slice and in parallel geometry, the sinogram of
the platinum is known in closed form (Gaussian lumps). A spectrum behind a head turns it into intensities, which the
detector averages before the logarithm: that non-linear step makes beam hardening and edge streaks. The reconstruction
of (with metal) minus (without) is added to a clean image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_matrix

from model.synthesis.electrode import ElectrodeArray
from model.synthesis.grid import CANONICAL_SIZE, CANONICAL_SPACING_MM, Float32Array, FloatArray, RenderGrid

# Photon weights of a 120 kVp spectrum and mass attenuation (cm²/g), after the NIST tables, at 40 to 110 keV.
_KEV = np.arange(40.0, 111.0, 10.0)
_PHOTONS = np.array([0.09, 0.165, 0.21, 0.165, 0.125, 0.11, 0.085, 0.05])
_WATER = np.array([0.268, 0.227, 0.206, 0.193, 0.184, 0.177, 0.171, 0.166])
_BONE = np.array([0.666, 0.424, 0.315, 0.260, 0.223, 0.202, 0.186, 0.176])
_PLATINUM = np.array([12.5, 6.95, 4.34, 3.0, 8.7, 6.5, 5.0, 4.0])
_BONE_DENSITY, _PLATINUM_DENSITY = 1.92, 21.45

_BIN_MM = 0.1
_BINS = 384
_WINDOW = 5
_MAX_PLATINUM_MM = 3.0


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


def random_metal(rng: np.random.Generator, views: int = 180) -> MetalParameters:
    """Draw an acquisition of a number of projections."""
    return MetalParameters(
        head_water_mm=rng.uniform(120, 180),
        head_bone_mm=rng.uniform(10, 25),
        scatter=rng.uniform(0.02, 0.12),
        aperture_mm=rng.uniform(0.4, 0.6),
        slice_mm=rng.uniform(0.4, 0.7),
        photons=float(np.exp(rng.uniform(np.log(1e3), np.log(2e4)))),
        cutoff=rng.uniform(0.5, 1.0),
        views=views,
    )


def metal_artifact(
    array: ElectrodeArray, parameters: MetalParameters, rng: np.random.Generator, grid: RenderGrid
) -> Float32Array:
    """Give what an electrode array adds to a clean image, (n, n, n) HU; axial slices are along the last axis.

    Args:
        array: the platinum.
        parameters: the acquisition.
        rng: source of the noise in the shadow of the metal.
        grid: the image's grid.
    """
    artifact = np.zeros((grid.size,) * 3, dtype=np.float32)
    sinogram, planes = _platinum_sinogram(array, parameters, grid)
    if not len(planes):
        return artifact
    line = _line_integrals(sinogram, parameters, rng)
    filtered = _ramp_filtered(line, parameters, grid)
    back = _back_projector(grid.factor, parameters.views)
    slices = back @ filtered.reshape(parameters.views * _BINS, len(planes))
    water_per_mm = float(_effective(_WATER, parameters)) / 10.0
    hu = slices.reshape(grid.size, grid.size, len(planes)) * np.float32(1000.0 / water_per_mm)
    artifact[:, :, planes] = hu
    return artifact


def _platinum_sinogram(
    array: ElectrodeArray, parameters: MetalParameters, grid: RenderGrid
) -> tuple[Float32Array, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Give path lengths in platinum (mm), (views, bins, planes), and the planes that hold any."""
    centre = (CANONICAL_SIZE - 1) / 2
    x, y = ((array.pieces_ijk[:, axis] - centre) * CANONICAL_SPACING_MM for axis in (0, 1))
    profile_mm = np.hypot(parameters.slice_mm / 2.355, grid.spacing_mm / np.sqrt(12.0))
    plane_sigma = np.hypot(array.pieces_sigma_mm, profile_mm)
    heights = (grid.centres[None, :] - array.pieces_ijk[:, 2, None]) * CANONICAL_SPACING_MM
    per_plane = np.exp(-0.5 * (heights / plane_sigma[:, None]) ** 2) / (np.sqrt(2 * np.pi) * plane_sigma[:, None])
    per_plane[np.abs(heights) > 3.0 * plane_sigma[:, None]] = 0.0
    planes = np.flatnonzero(per_plane.any(axis=0))
    per_plane = per_plane[:, planes] * array.pieces_mm3[:, None]
    angles = np.arange(parameters.views) * np.pi / parameters.views
    where = (np.outer(np.cos(angles), x) + np.outer(np.sin(angles), y)) / _BIN_MM + (_BINS - 1) / 2
    first = np.round(where).astype(int)
    rows, columns, values = [], [], []
    flat = np.arange(parameters.views)[:, None] * _BINS
    sigma = array.pieces_sigma_mm / _BIN_MM
    for tap in range(-_WINDOW, _WINDOW + 1):
        bins = first + tap
        weight = np.exp(-0.5 * ((bins - where) / sigma) ** 2) / (np.sqrt(2 * np.pi) * array.pieces_sigma_mm)
        valid = (bins >= 0) & (bins < _BINS)
        rows.append((flat + bins)[valid])
        columns.append(np.broadcast_to(np.arange(len(x)), bins.shape)[valid])
        values.append(weight[valid])
    spread = csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(parameters.views * _BINS, len(x)),
    )
    sinogram = np.asarray(spread @ per_plane, dtype=np.float32)
    return sinogram.reshape(parameters.views, _BINS, len(planes)), planes


def _weights(parameters: MetalParameters) -> FloatArray:
    """Give the normalised spectrum behind the head, weighted by the detector's response (energy)."""
    path = _WATER * parameters.head_water_mm / 10.0 + _BONE * _BONE_DENSITY * parameters.head_bone_mm / 10.0
    weights = _PHOTONS * _KEV * np.exp(-path)
    return np.asarray(weights / weights.sum())


def _effective(attenuation: FloatArray, parameters: MetalParameters) -> float:
    """Average an attenuation over the spectrum behind the head."""
    return float(_weights(parameters) @ attenuation)


def _line_integrals(sinogram: Float32Array, parameters: MetalParameters, rng: np.random.Generator) -> Float32Array:
    """Turn platinum paths (mm) into measured minus-log intensities, relative to the same scan without metal."""
    paths = np.linspace(0.0, _MAX_PLATINUM_MM, 3001)
    attenuation = _PLATINUM * _PLATINUM_DENSITY / 10.0
    passed = np.exp(-np.outer(paths, attenuation)) @ _weights(parameters)
    intensity = np.interp(sinogram, paths, passed).astype(np.float32)
    # The detector sees intensity, so the average over its aperture comes before the logarithm.
    intensity = gaussian_filter1d(intensity, parameters.aperture_mm / 2.355 / _BIN_MM, axis=1, truncate=3.0)
    intensity = (intensity + parameters.scatter) / (1.0 + parameters.scatter)
    extra = np.sqrt(np.clip(1.0 / intensity - 1.0, 0.0, None) / parameters.photons)
    noise = rng.standard_normal(intensity.shape, dtype=np.float32) * extra
    return np.asarray(-np.log(np.clip(intensity, 1e-4, None)) + noise, dtype=np.float32)


def _ramp_filtered(line: Float32Array, parameters: MetalParameters, grid: RenderGrid) -> Float32Array:
    """Filter projections (views, bins, planes) with the ramp, a Hann window and the width of the grid's voxels."""
    padded = 2 * _BINS
    offsets = np.fft.fftfreq(padded, 1.0 / padded)
    kernel = np.zeros(padded)
    kernel[0] = 0.25
    odd = np.abs(offsets) % 2 == 1
    kernel[odd] = -1.0 / (np.pi * offsets[odd]) ** 2
    ramp = np.fft.rfft(kernel).real / _BIN_MM
    frequency = np.fft.rfftfreq(padded, _BIN_MM)
    share = np.clip(frequency / (parameters.cutoff * 0.5 / _BIN_MM), 0.0, 1.0)
    window = 0.5 * (1.0 + np.cos(np.pi * share)) * np.sinc(frequency * grid.spacing_mm)
    spectrum = np.fft.rfft(line, padded, axis=1) * (ramp * window)[None, :, None].astype(np.float32)
    return np.asarray(np.fft.irfft(spectrum, padded, axis=1)[:, :_BINS], dtype=np.float32)


@lru_cache(maxsize=4)
def _back_projector(factor: int, views: int) -> csr_matrix:
    """Give the sparse (pixels, views * bins) matrix of back-projection with linear interpolation."""
    grid = RenderGrid(factor)
    centres = (grid.centres - (CANONICAL_SIZE - 1) / 2) * CANONICAL_SPACING_MM
    x, y = np.meshgrid(centres, centres, indexing="ij")
    angles = np.arange(views) * np.pi / views
    where = (np.outer(x.ravel(), np.cos(angles)) + np.outer(y.ravel(), np.sin(angles))) / _BIN_MM + (_BINS - 1) / 2
    low = np.clip(np.floor(where).astype(np.int32), 0, _BINS - 2)
    fraction = np.clip(where - low, 0.0, 1.0).astype(np.float32)
    columns = np.stack([low, low + 1], axis=-1) + (np.arange(views, dtype=np.int32) * _BINS)[None, :, None]
    values = np.stack([1.0 - fraction, fraction], axis=-1) * np.float32(np.pi / views)
    rows = np.arange(0, values.size + 1, 2 * views, dtype=np.int64)
    return csr_matrix((values.ravel(), columns.ravel(), rows), shape=(x.size, views * _BINS))
