"""Params of the preprocess stage."""

from typing import ClassVar

from pydantic import Field

from malaria.params.base import Section


class PreprocessParams(Section):
    """How a cell's crop becomes an array."""

    section: ClassVar[str] = "preprocess"
    size: int = Field(ge=16, le=512, description="height and width in pixels")
