"""Overlap of soft masks."""

from __future__ import annotations

from torch import Tensor

from model.losses.precision import at_least_single

_EPSILON = 1e-5


def soft_dice(first: Tensor, second: Tensor) -> Tensor:
    """Give the Dice coefficient of soft masks.

    Args:
        first: (B, C, I, J, K) memberships in [0, 1], one channel per structure.
        second: memberships of the same shape.

    Returns:
        (B, C): twice the sum of products over the sum of both, in [0, 1]; for masks of zeros and ones Dice's
        coefficient. Almost zero when both are empty: leave structures out that a case does not have.

    Raises:
        ValueError: when the shapes differ.

    Source: Milletari et al., 3DV 2016 (doi 10.1109/3DV.2016.79), with plain sums in the denominator.
    """
    if first.ndim != 5 or first.shape != second.shape:
        raise ValueError(
            f"expected two masks (B, C, I, J, K) of one shape, found {tuple(first.shape)} and {tuple(second.shape)}"
        )
    first, second = at_least_single(first), at_least_single(second)
    common, total = (values.sum(dim=(2, 3, 4)) for values in (first * second, first + second))
    return 2 * common / (total + _EPSILON)


def dice_loss(first: Tensor, second: Tensor) -> Tensor:
    """Give one minus the Dice coefficient, averaged over structures and batch; see `soft_dice`."""
    return 1 - soft_dice(first, second).mean()
