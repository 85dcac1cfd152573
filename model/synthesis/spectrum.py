"""What X-rays of a 120 kVp spectrum lose in water, bone and platinum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.synthesis.grid import Float32Array, FloatArray

# Photon weights of a 120 kVp spectrum and mass attenuation (cm²/g), after the NIST tables, at 40 to 110 keV.
_KEV = np.arange(40.0, 111.0, 10.0)
_PHOTONS = np.array([0.09, 0.165, 0.21, 0.165, 0.125, 0.11, 0.085, 0.05])
_WATER = np.array([0.268, 0.227, 0.206, 0.193, 0.184, 0.177, 0.171, 0.166])
_BONE = np.array([0.666, 0.424, 0.315, 0.260, 0.223, 0.202, 0.186, 0.176])
_PLATINUM = np.array([12.5, 6.95, 4.34, 3.0, 8.7, 6.5, 5.0, 4.0])
_BONE_DENSITY, _PLATINUM_DENSITY = 1.92, 21.45
_CORTICAL = 2.36
_SOFT_HU, _BONE_HU = 100.0, 300.0

WATER_PER_MM = _WATER / 10.0
"""Linear attenuation of water per mm at each energy."""

BONE_PER_MM = _BONE * _BONE_DENSITY / 10.0
"""Linear attenuation of cortical bone (1.92 g/cm³) per mm at each energy."""

PLATINUM_PER_MM = _PLATINUM * _PLATINUM_DENSITY / 10.0
"""Linear attenuation of platinum per mm at each energy."""


def detected_weights(water_mm: float, bone_mm: float) -> FloatArray:
    """Give what each energy adds to the signal of an energy-integrating detector behind water and bone; sums to 1."""
    weights = _PHOTONS * _KEV * np.exp(-(WATER_PER_MM * water_mm + BONE_PER_MM * bone_mm))
    return np.asarray(weights / weights.sum())


def water_and_bone(hu: npt.NDArray[np.floating]) -> tuple[Float32Array, Float32Array]:
    """Tell how much water and cortical bone (shares of their full density) a voxel of a CT number holds.

    Below 100 HU it is water, above 300 HU bone, a blend between; both attenuate as the CT number says at the effective
    energy (cortical bone is 2.36 times water there).
    """
    amount = np.clip(1.0 + hu / 1000.0, 0.0, None)
    bone = np.clip((hu - _SOFT_HU) / (_BONE_HU - _SOFT_HU), 0.0, 1.0)
    water = amount * (1.0 - bone)
    return water.astype(np.float32), (amount * bone / _CORTICAL).astype(np.float32)


def transmitted(
    platinum_mm: Float32Array, water_mm: Float32Array, bone_mm: Float32Array, weights: FloatArray
) -> Float32Array:
    """Give the share of the signal behind tissue that is left when platinum is in the way as well.

    Args:
        platinum_mm: lengths along the rays in platinum.
        water_mm: in water, an array of the same shape.
        bone_mm: in cortical bone, an array of the same shape.
        weights: from `detected_weights`, for what the beam crosses besides.
    """
    both = np.zeros_like(platinum_mm)
    for weight, water, bone, platinum in zip(weights, WATER_PER_MM, BONE_PER_MM, PLATINUM_PER_MM, strict=True):
        exponent = np.float32(water) * water_mm + np.float32(bone) * bone_mm + np.float32(platinum) * platinum_mm
        both += np.float32(weight) * np.exp(-exponent)
    return both / passed_tissue(water_mm, bone_mm, weights)


def passed_tissue(water_mm: Float32Array, bone_mm: Float32Array, weights: FloatArray) -> Float32Array:
    """Give the share of the signal that passes water and bone, see `transmitted`."""
    passed = np.zeros_like(water_mm)
    for weight, water, bone in zip(weights, WATER_PER_MM, BONE_PER_MM, strict=True):
        passed += np.float32(weight) * np.exp(-(np.float32(water) * water_mm + np.float32(bone) * bone_mm))
    return passed
