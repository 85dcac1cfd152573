"""Where a NIfTI image lies in the patient: choosing and judging its affine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError

from model.volumes.header import ImageHeader, refusal
from model.volumes.volume import ImageLimits

FloatArray = npt.NDArray[np.float64]

_UNIT_BITS, _MILLIMETRE, _UNKNOWN_UNIT = 7, 2, 0
_SHEAR_NOTED, _SHEAR_REFUSED = 1e-3, 0.5
_DISAGREEMENT_VOXELS = 0.1


@dataclass(frozen=True)
class Placement:
    """The affine of an image.

    Attributes:
        affine: (4, 4) ijk -> RAS mm.
        declared: whether the file declares one (sform or qform); otherwise array axes are taken as L, P, S.
        warnings: what is unusual about it.
    """

    affine: FloatArray
    declared: bool
    warnings: tuple[str, ...]


def place(header: ImageHeader, limits: ImageLimits) -> Placement:
    """Choose the affine (sform before qform, as the NIfTI standard's method 3 before 2) and check it.

    A sheared affine (a tilted gantry) is honoured as it stands, with a warning. Without sform and qform the array axes
    are taken as L, P, S with voxel 0 at the origin, as ITK reads such files.

    Raises:
        ImageError: other units than mm, singular or heavily sheared affine, spacing or field of view out of limits.
    """
    _check_units(header.nifti)
    placement = _choose(header)
    affine = placement.affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    usable = bool(np.isfinite(affine).all()) and bool(np.all((lengths > 1e-9) & (lengths < 1e9)))
    if not usable or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise refusal("the image has a singular affine", "three independent axes", "an affine that cannot be inverted")
    _check_spacing(lengths, header.shape, limits)
    return Placement(affine, placement.declared, (*placement.warnings, *_notes(affine, lengths, header, placement)))


def _check_units(nifti: nibabel.Nifti1Header) -> None:
    """Refuse units other than millimetres (a missing unit means millimetres)."""
    unit = int(nifti["xyzt_units"]) & _UNIT_BITS
    if unit not in (_MILLIMETRE, _UNKNOWN_UNIT):
        found = {1: "metres", 3: "micrometres"}.get(unit, f"unit code {unit}")
        raise refusal("the image is in other units", "millimetres", found, "write the header in millimetres")


def _choose(header: ImageHeader) -> Placement:
    """Take the sform, else the qform, else array axes as L, P, S."""
    nifti = header.nifti
    sform = np.asarray(nifti.get_sform(), dtype=np.float64) if int(nifti["sform_code"]) > 0 else None
    qform = _qform(nifti) if int(nifti["qform_code"]) > 0 else None
    warnings: list[str] = []
    if sform is not None:
        if int(nifti["qform_code"]) > 0 and (qform is None or _disagree(sform, qform, header.shape)):
            warnings.append("The header's qform and sform disagree; the sform is used.")
        return Placement(sform, True, tuple(warnings))
    if qform is not None:
        return Placement(qform, True, ())
    if int(nifti["qform_code"]) > 0:
        raise refusal("the image has an invalid qform", "a unit quaternion or an sform", "neither")
    x, y, z = (float(abs(size)) for size in nifti["pixdim"][1:4])
    warning = "The header says nothing about where the image lies; its axes are taken as L, P, S."
    return Placement(np.diag([-x, -y, z, 1.0]), False, (warning,))


def _qform(nifti: nibabel.Nifti1Header) -> FloatArray | None:
    """Give the qform, or None when its quaternion or spacing is invalid."""
    try:
        matrix = nifti.get_qform()
    except (HeaderDataError, ValueError):
        return None
    return None if matrix is None else np.asarray(matrix, dtype=np.float64)


def _disagree(first: FloatArray, second: FloatArray, shape: tuple[int, int, int]) -> bool:
    """Whether two affines put a corner of the image at places more than a tenth of a voxel apart."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, size - 1) for size in shape))])
    apart = np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max()
    return not apart <= _DISAGREEMENT_VOXELS * np.linalg.norm(first[:3, :3], axis=0).min()


def _check_spacing(lengths: FloatArray, shape: tuple[int, int, int], limits: ImageLimits) -> None:
    """Refuse voxels that are too large or too small, and a field of view that cannot hold an ear."""
    found = " x ".join(f"{length:.3g}" for length in lengths) + " mm"
    if lengths.max() > limits.max_spacing_mm or lengths.min() < limits.min_spacing_mm:
        expected = f"between {limits.min_spacing_mm:g} and {limits.max_spacing_mm:g} mm along each axis"
        raise refusal("the voxel spacing is out of range", expected, found)
    extent = lengths * np.array(shape)
    if extent.min() < limits.min_extent_mm:
        view = " x ".join(f"{size:.3g}" for size in extent) + " mm"
        expected = f"at least {limits.min_extent_mm:g} mm along each axis"
        raise refusal("the field of view is too small for an ear", expected, view)


def _notes(affine: FloatArray, lengths: FloatArray, header: ImageHeader, placement: Placement) -> tuple[str, ...]:
    """Warn of shear and of a pixdim that contradicts the affine; refuse extreme shear."""
    directions = affine[:3, :3] / lengths
    shear = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if shear > _SHEAR_REFUSED:
        raise refusal("the image's axes are heavily sheared", "axes at 60 to 120 degrees", f"cosine {shear:.2f}")
    notes = []
    if shear > _SHEAR_NOTED:
        notes.append("The image's axes are not at right angles (sheared affine); the affine is used as it stands.")
    pixdim = np.abs(np.asarray(header.nifti["pixdim"][1:4], dtype=np.float64))
    if placement.declared and not np.allclose(pixdim, lengths, rtol=0.01):
        notes.append("The header's pixdim and affine disagree on the spacing; the affine is used.")
    return tuple(notes)
