"""Whether the tensors of a published network are those of ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from model.errors import ReleaseError


def check_tensors(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Check names and shapes of a state dict.

    Args:
        weights: the tensors, under the names used here.
        wanted: tensors of the names and shapes that there must be.

    Raises:
        ReleaseError: a tensor is missing, too many or of another shape.
    """
    missing = sorted(set(wanted) - set(weights))
    if missing:
        raise ReleaseError("the weights are incomplete", expected=f"{len(wanted)} tensors", found=f"no {missing[0]}")
    for name, tensor in weights.items():
        if name not in wanted or wanted[name].shape != tensor.shape:
            expected = str(tuple(wanted[name].shape)) if name in wanted else "no such tensor"
            raise ReleaseError(f"the tensor {name} does not fit", expected=expected, found=str(tuple(tensor.shape)))
