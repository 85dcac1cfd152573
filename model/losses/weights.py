"""Which losses are minimised, and how much each counts; without torch, for configuration files."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DATA_TERMS = ("chamfer", "point_to_point", "point_to_plane", "dice", "mse", "ncc", "lncc")
"""Terms that compare with the truth; at least one of them is needed."""

FIELD_TERMS = ("smoothness", "roughness", "bending", "folding")
"""Terms that keep the displacement fields regular."""


class LossWeights(BaseModel):
    """Weights of the terms of a loss, zero where a term is not used, and the settings of the terms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chamfer: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Squared distances to nearest points.")
    point_to_point: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Distances of true points.")
    point_to_plane: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Distances of tangent planes.")
    dice: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="One minus the soft Dice coefficient.")
    mse: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Mean squared difference of the images.")
    ncc: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="One minus the cross-correlation.")
    lncc: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="One minus the local cross-correlation.")
    smoothness: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Squared first derivatives.")
    roughness: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Squared second derivatives, pure.")
    bending: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Bending energy.")
    folding: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Negative Jacobian determinants.")
    chamfer_points: int = Field(default=10_000, ge=1, description="Random points a side of the chamfer distance.")
    concatenated: bool = Field(
        default=True, description="Points of all structures together, or structure by structure."
    )
    point_to_point_squared: bool = Field(default=False, description="Average squared distances, as published.")
    # Left out where it is the default: runs that were begun before it was there stay the same run.
    dice_by: Literal["field", "surface"] = Field(
        default="field",
        exclude_if=lambda chosen: bool(chosen == "field"),
        description="Dice of masks that the field pulls back onto the atlas, or of moved surfaces, softly voxelized.",
    )
    lncc_window: int = Field(default=9, ge=3, description="Edge of the window of the local correlation, odd, voxels.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse a loss without a data term, and an even window."""
        if not any(getattr(self, name) for name in DATA_TERMS):
            raise ValueError(f"expected a weight above zero of at least one of {', '.join(DATA_TERMS)}")
        if self.dice_by != "field" and not self.dice:
            raise ValueError(f"dice_by: expected a weight of dice above zero, found dice={self.dice:g}")
        if self.lncc_window % 2 == 0:
            raise ValueError(f"lncc_window: expected an odd number, found {self.lncc_window}")
        return self
