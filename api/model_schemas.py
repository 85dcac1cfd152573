"""What the service says about models and aliases."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from model.bundle import Bundle, BundleManifest
from model.structures import structure_by_id
from worker.aliases import Alias


class ModelStructure(BaseModel):
    """A structure a model segments."""

    id: str = Field(examples=["scala_tympani"])
    code: str = Field(examples=["ST"])
    label: int = Field(description="Value in the label map.", examples=[2])
    name: str = Field(examples=["Scala tympani"])

    @classmethod
    def of(cls, structure_id: str) -> ModelStructure:
        """Give what is said about a structure."""
        known = structure_by_id(structure_id)
        return cls(id=known.id, code=known.code, label=known.label, name=known.name)


class Model(BaseModel):
    """A model bundle the service offers."""

    name: str = Field(description="What the field `bundle` of a job takes.", examples=["cochlea-ct-v2"])
    version: str = Field(examples=["1.0.0"])
    default: bool = Field(description="Whether it is used when a job names none.")
    aliases: list[str] = Field(description="Aliases that point to it.", examples=[["default"]])
    digest: str = Field(description="SHA-256 of the manifest, which holds those of all other files.")
    intended_use: str
    limits: list[str] = Field(description="What it is known not to do.")
    licence: str
    citation: str | None
    structures: list[ModelStructure]

    @classmethod
    def of(cls, manifest: BundleManifest, digest: str, aliases: list[str], *, default: bool) -> Model:
        """Give what is said about a bundle."""
        return cls(
            name=manifest.name,
            version=manifest.version,
            default=default,
            aliases=aliases,
            digest=digest,
            intended_use=manifest.intended_use,
            limits=list(manifest.limits),
            licence=manifest.licence,
            citation=manifest.citation,
            structures=[ModelStructure.of(structure.id) for structure in manifest.structures],
        )


class ModelList(BaseModel):
    """The models on offer."""

    models: list[Model]


class ModelCard(Model):
    """A model with what it was made from and how well it does."""

    network: str = Field(description="Class of the network.", examples=["published_registration"])
    training_data: str
    training_details: dict[str, JsonValue]
    scores: dict[str, JsonValue] = Field(description="What its maker measured.")

    @classmethod
    def of_bundle(cls, bundle: Bundle, aliases: list[str], *, default: bool) -> ModelCard:
        """Give the card of a bundle whose files were verified."""
        manifest = bundle.manifest
        return cls(
            **Model.of(manifest, bundle.digest, aliases, default=default).model_dump(),
            network=manifest.network.class_name,
            training_data=manifest.training.data,
            training_details=manifest.training.details,
            scores=manifest.scores,
        )


class AliasTarget(BaseModel):
    """Where an alias shall point."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"bundle": "cochlea-ct-v2"}})

    bundle: str = Field(description="Name of a bundle.", max_length=64)
    digest: str | None = Field(
        default=None, description="Digest the bundle must have; refused otherwise.", pattern="^[0-9a-f]{64}$"
    )


class AliasState(BaseModel):
    """Where an alias points."""

    name: str = Field(examples=["default"])
    bundle: str = Field(examples=["cochlea-ct-v2"])
    digest: str
    since: datetime
    by: str | None = Field(description="Id of the API key that set it.")

    @classmethod
    def of(cls, alias: Alias) -> AliasState:
        """Give what is said about an alias."""
        return cls.model_validate(alias.model_dump())


class AliasHistory(AliasState):
    """Where an alias points, and pointed."""

    history: list[AliasState] = Field(description="Where it has pointed, latest first; the first is where it points.")


class AliasList(BaseModel):
    """The aliases that were set."""

    aliases: list[AliasState]
