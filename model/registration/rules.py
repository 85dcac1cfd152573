"""Names of the rules by which points read a field; apart from the sampler so that bundles can be read without torch."""

from __future__ import annotations

from typing import Literal

SamplerRule = Literal["trilinear", "published"]
"""`trilinear` is exact for linear fields; `published` reproduces the sampler of the published release."""
