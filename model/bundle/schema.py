"""What `bundle.json` holds. Unknown keys are refused, so a misspelt one cannot pass unnoticed."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from model.bundle.layout import MANIFEST_FILE, AtlasInput, own_files
from model.geometry.frame import LANDMARK_NAMES
from model.registration.rules import SamplerRule
from model.structures import STRUCTURES

SCHEMA_VERSION: Literal[1] = 1

BUNDLE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Pattern of bundle names: a folder name on every system, and no path."""

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
"""Name of a file in the bundle's folder; separators and leading dots are refused, so no name leaves the folder."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
GridSize = Annotated[int, Field(ge=8, le=1024)]
Colour = Annotated[int, Field(ge=0, le=255)]
Point = tuple[float, float, float]


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_by_name=True)


class NetworkInput(Section):
    """What the network gets besides the patient crop."""

    atlas: AtlasInput = Field(
        default="image",
        description="The atlas image; or the first convolution's output for (0, atlas image), bias included; or "
        "withheld: the bundle has the surfaces only, and the first convolution's output for (patient, atlas image) "
        "comes with each case; or none, as for segmentation networks: the bundle then has no atlas, neither surfaces "
        "nor image.",
    )


class NetworkSection(Section):
    """Which network, and its size."""

    class_name: Text = Field(
        validation_alias="class", serialization_alias="class", description="Name in the registry of networks."
    )
    parameters: dict[str, JsonValue] = Field(default_factory=dict, description="Keyword arguments of the class.")
    input: NetworkInput = NetworkInput()


class FrameSection(Section):
    """The canonical frame of the atlas."""

    grid: tuple[GridSize, GridSize, GridSize]
    spacing_mm: float = Field(gt=0)
    axes: Literal["LPS"] = "LPS"
    side: Literal["left"] = "left"
    landmarks_ijk: dict[str, Point] = Field(
        default_factory=dict, description="Landmarks of the atlas in voxels; empty when only prepared crops are taken."
    )

    @model_validator(mode="after")
    def _known_landmarks(self) -> Self:
        """Refuse other landmarks."""
        unknown = set(self.landmarks_ijk) - set(LANDMARK_NAMES)
        if unknown:
            raise ValueError(f"expected landmarks of {', '.join(LANDMARK_NAMES)}, found {', '.join(sorted(unknown))}")
        return self


class HuWindow(Section):
    """[low, high] HU becomes [-1, 1], clipped."""

    rule: Literal["hu_window"] = "hu_window"
    low: float
    high: float
    fill_hu: float | None = Field(default=None, description="Value outside the field of view; `low` when absent.")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        """Refuse an empty window."""
        if self.low >= self.high:
            raise ValueError(f"expected low < high, found {self.low} and {self.high}")
        return self


class MinMax(Section):
    """The lowest and the highest value of the crop, each held within [low, high] HU, become -1 and 1."""

    rule: Literal["min_max"] = "min_max"
    low: float = -1024.0
    high: float = 3071.0

    @model_validator(mode="after")
    def _rising(self) -> Self:
        """Refuse empty bounds."""
        if self.low >= self.high:
            raise ValueError(f"expected low < high, found {self.low} and {self.high}")
        return self


class AsStored(Section):
    """Images come in [-1, 1] already."""

    rule: Literal["as_stored"] = "as_stored"


Intensity = Annotated[HuWindow | MinMax | AsStored, Field(discriminator="rule")]
"""How raw CT becomes network input; prepared crops are taken as stored under every rule."""


class StructureSection(Section):
    """One structure; their order is that of their vertices in `atlas.npz` or of a segmentation network's channels."""

    id: Text
    code: Text
    colour: tuple[Colour, Colour, Colour]
    vertices: Count | None = Field(default=None, description="Of its atlas surface; absent in bundles without atlas.")
    triangles: Count | None = Field(default=None, description="Of its atlas surface; absent in bundles without atlas.")


class SegmentationSection(Section):
    """How the logits of a segmentation network become structures: a voxel is in where the sigmoid is above 0.5."""

    pieces: Literal["largest", "all"] = Field(
        default="largest",
        description="Keep of each structure the largest piece only (voxels connected by faces, on the crop's grid), or "
        "all pieces as published.",
    )


class WeightsSection(Section):
    """What `weights.safetensors` must hold."""

    tensors: Count
    values: Annotated[int, Field(ge=1, description="Numbers in all tensors together.")]


class TrainingSection(Section):
    """What the model was trained on."""

    data: Text
    citation: str | None = None
    details: dict[str, JsonValue] = Field(default_factory=dict)


class BundleDescription(Section):
    """What the maker of a bundle states."""

    name: Annotated[str, StringConstraints(pattern=f"^{BUNDLE_NAME}$")]
    version: Text
    licence: Text
    citation: str | None = None
    intended_use: Text
    limits: tuple[Text, ...] = ()
    network: NetworkSection
    refinement: dict[str, JsonValue] | None = Field(
        default=None, description="Settings of the refinement of the field at run time; absent when there is none."
    )
    segmentation: SegmentationSection | None = Field(
        default=None, description="How logits become structures; stated by segmentation networks and only by them."
    )
    frame: FrameSection
    intensity: Intensity
    sampler: SamplerRule = "trilinear"
    training: TrainingSection
    scores: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def has_atlas(self) -> bool:
        """Whether the model registers to an atlas, whose surfaces are in the bundle."""
        return self.network.input.atlas != "none"

    @property
    def has_atlas_input(self) -> bool:
        """Whether what the network gets of the atlas is in the bundle, so that the model takes images."""
        return self.network.input.atlas in ("image", "activation")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        """Refuse a model that is neither wholly a registration nor wholly a segmentation network."""
        if self.has_atlas == (self.segmentation is not None):
            raise ValueError("expected either an atlas as network input or a section `segmentation`")
        if self.refinement is not None and not self.has_atlas:
            raise ValueError("refinement: expected none, as there is no displacement field to refine")
        return self


class BundleManifest(BundleDescription):
    """All of `bundle.json`: what the maker states, and what the files hold."""

    schema_version: Literal[1]
    structures: tuple[StructureSection, ...] = Field(min_length=1)
    weights: WeightsSection
    files: dict[FileName, Digest] = Field(description="SHA-256 of every other file of the bundle.")

    @property
    def own_files(self) -> tuple[str, ...]:
        """Names of the files that make up the bundle, besides the manifest."""
        return own_files(self.network.input.atlas)

    @model_validator(mode="after")
    def _known_structures(self) -> Self:
        """Refuse structures that the vocabulary does not have, or has under another code, or that come twice."""
        codes = {structure.id: structure.code for structure in STRUCTURES}
        ids = [structure.id for structure in self.structures]
        if len(set(ids)) != len(ids) or any(codes.get(s.id) != s.code for s in self.structures):
            found = ", ".join(f"{s.id} ({s.code})" for s in self.structures)
            expected = ", ".join(f"{name} ({code})" for name, code in codes.items())
            raise ValueError(f"structures: expected each at most once of {expected}, found {found}")
        return self

    @model_validator(mode="after")
    def _counted_structures(self) -> Self:
        """Refuse an atlas whose surfaces are not counted, and counts without an atlas."""
        counts = [count for structure in self.structures for count in (structure.vertices, structure.triangles)]
        if any((count is not None) != self.has_atlas for count in counts):
            expected = "of every structure" if self.has_atlas else "none, as the network gets no atlas"
            raise ValueError(f"structures: expected numbers of vertices and triangles {expected}")
        return self

    @model_validator(mode="after")
    def _other_files_only(self) -> Self:
        """Refuse a digest of the manifest in itself."""
        if MANIFEST_FILE in self.files:
            raise ValueError(f"files: expected other files than {MANIFEST_FILE}")
        return self
