"""Which network a run trains: sections of its configuration, one per class."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from model.training.sections import Section

USUAL_GRID = 128
"""Voxels of a crop along each axis, for which the networks' defaults are made."""


def _class_of(section: Any) -> str:  # noqa: ANN401 (whatever the file holds)
    """Give the class of a section that is not checked yet."""
    if isinstance(section, dict):
        return str(section.get("class", "coarse_to_fine"))
    return str(getattr(section, "class_name", ""))


Channels = Annotated[int, Field(ge=8, multiple_of=8)]


class NetworkParameters(Section):
    """Base: a class and its keyword arguments."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    def parameters(self, grid: int) -> dict[str, Any]:
        """Give the keyword arguments of the class for a cubic crop of `grid` voxels, fit for JSON."""
        return self.model_dump(mode="json", exclude={"class_name"})


class CoarseToFineParameters(NetworkParameters):
    """See `model.networks.coarse_to_fine`."""

    class_name: Literal["coarse_to_fine"] = Field(default="coarse_to_fine", alias="class")
    samples: int = Field(default=48, ge=8)
    stack: int = Field(default=1, ge=1)
    widths: tuple[Channels, ...] = Field(default=(16, 32, 64), min_length=1)
    finest: int = Field(default=1, ge=0)
    passes: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        """Refuse samples that cannot be halved as often as there are widths, and scales that are not there."""
        unit = 2 ** len(self.widths)
        if self.samples % unit or self.samples < 4 * unit:
            raise ValueError(f"samples: expected a multiple of {unit}, at least {4 * unit}, found {self.samples}")
        if self.finest >= len(self.widths):
            raise ValueError(
                f"finest: expected less than the number of widths, {len(self.widths)}, found {self.finest}"
            )
        return self

    def parameters(self, grid: int) -> dict[str, Any]:
        """Give the keyword arguments of the class for a cubic crop of `grid` voxels, fit for JSON.

        The view leaves an eighth of the crop out at every side; for the usual grid that is the class's default.
        """
        margin = grid // 8
        region: dict[str, Any] = {} if grid == USUAL_GRID else {"region": [margin, grid - 1 - margin]}
        return {"grid": grid, **region, **super().parameters(grid)}


class PublishedParameters(NetworkParameters):
    """See `model.networks.published`; the default size is the published one."""

    class_name: Literal["published_registration"] = Field(alias="class")
    base_width: int = Field(default=32, ge=2)
    levels: int = Field(default=3, ge=1)


class SegNetParameters(NetworkParameters):
    """See `model.networks.segnet`; the default size is the published one."""

    class_name: Literal["segnet"] = Field(alias="class")
    base_width: int = Field(default=64, ge=2, multiple_of=2)
    factor: int = Field(default=1, ge=1)
    margin: int = Field(default=0, ge=0)


AnyNetwork = Annotated[
    Annotated[CoarseToFineParameters, Tag("coarse_to_fine")]
    | Annotated[PublishedParameters, Tag("published_registration")]
    | Annotated[SegNetParameters, Tag("segnet")],
    Discriminator(_class_of),
]
"""A network section; without `class` it is a coarse-to-fine network."""
