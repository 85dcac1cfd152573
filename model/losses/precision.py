"""Losses are sums over many values; half precision would lose them."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(values: Tensor) -> Tensor:
    """Give float16 and bfloat16 values as float32 and leave every other type as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
