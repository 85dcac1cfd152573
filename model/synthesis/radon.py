"""Parallel-beam projection and filtered back-projection within slices (Kak and Slaney 1988, chapter 3).

Projections have `BINS` bins of 0.1 mm about the centre of the scan frame, over half a turn. A ray of view t and bin
position r is the line u cos t + v sin t = r.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.sparse import csr_matrix

from model.synthesis.grid import Float32Array, FloatArray

BIN_MM = 0.1
BINS = 384
REACH_MM = 18.2
"""Distance from the centre of the crop, across the slices, up to which pictures are reconstructed."""

COARSE_MM = 0.8
"""Pixels and bins in which local tissue is projected."""

_COARSE_BINS = 48


def view_angles(views: int) -> FloatArray:
    """Give the directions of the projections, radians."""
    return np.arange(views) * np.pi / views


def ramp_filtered(line: Float32Array, cutoff: float, pixel_mm: float) -> Float32Array:
    """Filter projections (views, BINS, planes) with the ramp (sampled in space), a Hann window and a pixel's width.

    Args:
        line: line integrals.
        cutoff: of the Hann window, share of the Nyquist frequency of the bins.
        pixel_mm: the picture is averaged over pixels of this width; 0 for none.
    """
    padded = next_fast_len(2 * BINS, real=True)
    offsets = np.fft.fftfreq(padded, 1.0 / padded)
    kernel = np.zeros(padded)
    kernel[0] = 0.25
    odd = np.abs(offsets) % 2 == 1
    kernel[odd] = -1.0 / (np.pi * offsets[odd]) ** 2
    ramp = np.fft.rfft(kernel).real / BIN_MM
    frequency = np.fft.rfftfreq(padded, BIN_MM)
    share = np.clip(frequency / (cutoff * 0.5 / BIN_MM), 0.0, 1.0)
    window = 0.5 * (1.0 + np.cos(np.pi * share)) * np.sinc(frequency * pixel_mm)
    spectrum = rfft(line, padded, axis=1) * (ramp * window)[None, :, None].astype(np.float32)
    return np.asarray(irfft(spectrum, padded, axis=1)[:, :BINS], dtype=np.float32)


def back_projector(uv_mm: FloatArray, views: int) -> csr_matrix:
    """Give the sparse (pixels, views * BINS) matrix of back-projection with linear interpolation.

    Args:
        uv_mm: (p, 2) pixel centres, within `REACH_MM` of the centre.
        views: projections over half a turn.
    """
    return _interpolation(uv_mm, views, BINS, BIN_MM, np.pi / views)


def _interpolation(uv_mm: FloatArray, views: int, bins: int, bin_mm: float, weight: float) -> csr_matrix:
    """Give the (pixels, views * bins) weights with which each pixel falls between two bins of every view."""
    angles = view_angles(views)
    where = np.outer(uv_mm[:, 0], np.cos(angles)) + np.outer(uv_mm[:, 1], np.sin(angles))
    where = where / bin_mm + (bins - 1) / 2
    low = np.clip(np.floor(where).astype(np.int32), 0, bins - 2)
    fraction = np.clip(where - low, 0.0, 1.0).astype(np.float32)
    columns = np.stack([low, low + 1], axis=-1) + (np.arange(views, dtype=np.int32) * bins)[None, :, None]
    values = np.stack([1.0 - fraction, fraction], axis=-1) * np.float32(weight)
    rows = np.arange(0, values.size + 1, 2 * views, dtype=np.int64)
    return csr_matrix((values.ravel(), columns.ravel(), rows), shape=(len(uv_mm), views * bins))


def coarse_pixels() -> FloatArray:
    """Give the centres of the 0.8 mm pixels on which local tissue is projected, (p, 2) in mm."""
    axis = (np.arange(_COARSE_BINS) - (_COARSE_BINS - 1) / 2) * COARSE_MM
    pixels = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.asarray(pixels[np.hypot(*pixels.T) <= REACH_MM])


def project_coarse(pixels: Float32Array, views: int) -> Float32Array:
    """Give line integrals of pictures made of the coarse pixels.

    Args:
        pixels: (p, planes) values at `coarse_pixels`.
        views: projections over half a turn.

    Returns:
        (views, bins, planes) sums along rays, value times mm, in bins of `COARSE_MM`.
    """
    sums = _coarse_projector(views) @ pixels
    return np.asarray(sums, dtype=np.float32).reshape(views, _COARSE_BINS, -1)


@lru_cache(maxsize=4)
def _coarse_projector(views: int) -> csr_matrix:
    """Give the (views * bins, pixels) matrix that spreads pixels over the two nearest bins of every view."""
    return _interpolation(coarse_pixels(), views, _COARSE_BINS, COARSE_MM, COARSE_MM).T.tocsr()


def between_coarse_bins(rays: npt.NDArray[np.integer], planes: int) -> Callable[[Float32Array], Float32Array]:
    """Prepare the linear interpolation of coarse projections at single rays.

    Args:
        rays: (n,) places in a flattened (views, BINS, planes) array.
        planes: how many planes it has.

    Returns:
        A function that gives (n,) values from (views, coarse bins, planes) projections.
    """
    row, plane = np.divmod(rays, planes)
    view, bin_ = np.divmod(row, BINS)
    low, fraction = (values[bin_] for values in _between())
    first = (view * _COARSE_BINS + low) * planes + plane

    def at(coarse: Float32Array) -> Float32Array:
        flat = coarse.ravel()
        return np.asarray(flat.take(first) * (1 - fraction) + flat.take(first + planes) * fraction, dtype=np.float32)

    return at


def _between() -> tuple[npt.NDArray[np.intp], Float32Array]:
    """Give, for every fine bin, the coarse bin before it and how far it lies towards the next, 0 to 1."""
    where = (np.arange(BINS) - (BINS - 1) / 2) * BIN_MM / COARSE_MM + (_COARSE_BINS - 1) / 2
    low = np.clip(np.floor(where).astype(np.intp), 0, _COARSE_BINS - 2)
    return low, np.clip(where - low, 0.0, 1.0).astype(np.float32)
