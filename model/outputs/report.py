"""The report of a result: a JSON document with a fixed schema."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["pass", "review", "fail"]

SCHEMA_VERSION = "1.1"
"""1.1 has `centroid_ras` null for structures that were not found."""

INTENDED_USE = "Research use only. Not for diagnosis or treatment."
VERDICTS: tuple[Verdict, ...] = ("pass", "review", "fail")
"""From best to worst."""


class _Document(BaseModel):
    """Base of the report's parts: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelFacts(_Document):
    """Which model made the result."""

    name: str = Field(description="Name of the model bundle.")
    version: str = Field(description="Version of the model bundle.")
    digest: str = Field(description="SHA-256 of the bundle's manifest.")
    network: str | None = Field(default=None, description="Class of the network.")


class RunFacts(_Document):
    """What a run says about itself, as it hands it to the writers."""

    model: ModelFacts
    kind: Literal["raw", "prepared"] = Field(description="Kind of image: raw CT or prepared crop.")
    device: str | None = Field(default=None, description="Device of the computation, such as cpu or cuda:0.")
    timings_s: dict[str, float] = Field(default_factory=dict, description="Seconds per stage.")
    warnings: list[str] = Field(default_factory=list, description="What the user should know.")


class InputFacts(_Document):
    """The image as it came."""

    kind: Literal["raw", "prepared"]
    shape: tuple[int, int, int] = Field(description="Voxels along i, j, k.")
    spacing_mm: tuple[float, float, float]
    orientation: str = Field(description="Nearest patient directions of i, j, k, such as RAS.")
    affine: list[list[float]] = Field(description="Voxel indices to RAS mm.")
    data_type: str = Field(description="Stored type of the voxels.")
    qform_code: int
    sform_code: int


class AlignmentFacts(_Document):
    """How the ear was brought into the canonical frame."""

    side: Literal["left", "right"]
    mirrored: bool
    method: str
    residual_mm: float | None = Field(description="Root mean square of the landmark residuals.")
    landmark_residuals_mm: dict[str, float]
    ras_to_canonical: list[list[float]] = Field(description="RAS mm to voxels of the canonical frame.")


class StructureFacts(_Document):
    """One structure of the result."""

    id: str
    code: str
    label: int
    name: str
    vertices: int = Field(description="Of the surface; 0 when the structure was not found.")
    triangles: int
    mesh_volume_mm3: float = Field(description="Volume enclosed by the surface.")
    mask_volume_mm3: float = Field(description="Volume of the mask on the image's grid.")
    mask_voxels: int
    centroid_ras: tuple[float, float, float] | None = Field(
        description="Centroid of the enclosed volume, RAS mm; null when the structure was not found."
    )


class QualityCheck(_Document):
    """One automatic check."""

    name: str
    verdict: Verdict
    value: float | None = Field(description="What was measured.")
    limit: str = Field(description="What passes.")
    reason: str = Field(description="One sentence for people.")


class Quality(_Document):
    """All automatic checks; the verdict is the worst of theirs."""

    verdict: Verdict
    checks: list[QualityCheck]


class ResultReport(_Document):
    """The whole report."""

    schema_version: str = SCHEMA_VERSION
    intended_use: str = INTENDED_USE
    model: ModelFacts
    software: dict[str, str] = Field(description="Versions of the programs that took part.")
    device: str | None
    input: InputFacts
    alignment: AlignmentFacts
    structures: list[StructureFacts]
    quality: Quality
    timings_s: dict[str, float]
    warnings: list[str]


def worst(verdicts: list[Verdict]) -> Verdict:
    """Give the worst of several verdicts; `pass` when there are none."""
    return max(verdicts, key=VERDICTS.index, default="pass")
