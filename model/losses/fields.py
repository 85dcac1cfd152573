"""How regular a displacement field is.

`spacing` is the distance between neighbouring samples of the field, in the unit of its displacements: 1 for a field in
voxels on every voxel, 3 for a field in crop voxels on every third one. Derivatives are per that unit.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from model.losses.precision import at_least_single

_AXES = (2, 3, 4)


def smoothness(ddf: Tensor, spacing: float = 1.0) -> Tensor:
    """Give the mean squared first derivative of a field over the three axes, as the published models were trained.

    Args:
        ddf: (B, 3, I, J, K) displacements, at least two samples along each axis.
        spacing: distance between samples.

    Returns:
        Squared forward differences, averaged per axis, averaged over the axes.

    Raises:
        ValueError: when the shape does not fit.
    """
    ddf = _checked(ddf, 2)
    return torch.stack([ddf.diff(dim=axis).square().mean() for axis in _AXES]).mean() / spacing**2


def roughness(ddf: Tensor, spacing: float = 1.0) -> Tensor:
    """Give the mean squared second derivative of a field along the three axes, without mixed derivatives.

    Args:
        ddf: (B, 3, I, J, K) displacements, at least three samples along each axis.
        spacing: distance between samples.

    Raises:
        ValueError: when the shape does not fit.
    """
    ddf = _checked(ddf, 3)
    return torch.stack([ddf.diff(n=2, dim=axis).square().mean() for axis in _AXES]).mean() / spacing**4


def bending(ddf: Tensor, spacing: float = 1.0) -> Tensor:
    """Give the bending energy of a field: zero for affine ones.

    Args:
        ddf: (B, 3, I, J, K) displacements, at least three samples along each axis.
        spacing: distance between samples.

    Returns:
        All squared second derivatives, mixed ones twice, summed over the displacement's three components and averaged
        over the samples.

    Raises:
        ValueError: when the shape does not fit.

    Source: Rueckert et al., IEEE TMI 18 (1999) 712, equation 6.
    """
    ddf = _checked(ddf, 3)
    pure = [ddf.diff(n=2, dim=axis).square().mean() for axis in _AXES]
    mixed = [ddf.diff(dim=one).diff(dim=other).square().mean() for one, other in combinations(_AXES, 2)]
    return 3 * (torch.stack(pure).sum() + 2 * torch.stack(mixed).sum()) / spacing**4


def jacobian_determinant(ddf: Tensor, spacing: float = 1.0) -> Tensor:
    """Give the determinant of the Jacobian of x -> x + ddf(x) in every grid cell.

    Args:
        ddf: (B, 3, I, J, K) displacements, channel c along axis c, at least two samples along each axis.
        spacing: distance between samples.

    Returns:
        (B, I-1, J-1, K-1) by forward differences: the factor by which volume changes; negative where space is folded.

    Raises:
        ValueError: when the shape does not fit.
    """
    ddf = _checked(ddf, 2)
    i, j, k = (ddf.diff(dim=axis)[:, :, : ddf.shape[2] - 1, : ddf.shape[3] - 1, : ddf.shape[4] - 1] for axis in _AXES)
    columns = [step / spacing for step in (i, j, k)]
    # Column a holds the derivatives along axis a; the identity adds one to its own component.
    unit = torch.eye(3, dtype=ddf.dtype, device=ddf.device)[:, None, :, None, None, None]
    first, second, third = (column + one for column, one in zip(columns, unit, strict=True))
    determinant: Tensor = (torch.linalg.cross(first, second, dim=1) * third).sum(1)
    return determinant


def folding(ddf: Tensor, spacing: float = 1.0) -> Tensor:
    """Give how much a field folds space: the mean of max(0, -determinant); see `jacobian_determinant`.

    Zero exactly when no cell is turned inside out.

    Source: Mok and Chung, CVPR 2020 (doi 10.1109/CVPR42600.2020.00470).
    """
    return torch.relu(-jacobian_determinant(ddf, spacing)).mean()


def _checked(ddf: Tensor, samples: int) -> Tensor:
    """Give the field in at least single precision."""
    if ddf.ndim != 5 or ddf.shape[1] != 3 or min(ddf.shape[2:]) < samples:
        raise ValueError(
            f"expected a field (B, 3, I, J, K) with at least {samples} samples along each axis, "
            f"found {tuple(ddf.shape)}"
        )
    return at_least_single(ddf)
