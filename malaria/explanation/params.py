"""Params of the explain stage."""

from typing import ClassVar

from pydantic import Field

from malaria.core.params import Section


class ExplainParams(Section):
    """How many test cells get heat maps, and how many the occlusion check."""

    section: ClassVar[str] = "explain"
    cells: int = Field(ge=2, le=24, description="of each kind, such as the least sure")
    occluded: int = Field(ge=2, description="half called parasitized, half uninfected")
