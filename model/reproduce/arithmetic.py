"""Arithmetic that gives on a GPU what it gives on a CPU, to the rounding of float32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def full_precision() -> AbstractContextManager[None]:
    """Keep a GPU from rounding the factors of convolutions to 10 bits (TF32), which moves vertices visibly."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return flags
