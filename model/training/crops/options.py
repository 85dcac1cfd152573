"""How a folder of crops is trained on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CropOptions(BaseModel):
    """Settings of training on a folder of crops; the defaults are the published ones.

    Source: the training program of the published release.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation_share: float = Field(default=0.2, gt=0, lt=1, description="Share of the cases kept for validation.")
    rotation_deg: float = Field(
        default=15.0, ge=0, le=180, description="Largest rotation of a training crop, about one axis drawn at random."
    )
    fill: float = Field(
        default=0.0, ge=-1, le=1, description="Intensity given to what a rotation brings in from outside the crop."
    )
