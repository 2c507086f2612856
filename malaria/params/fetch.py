"""Params of the fetch stage."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from malaria.params.base import Section, Sha256

SYNTHETIC = "synthetic"


class SyntheticParams(Section):
    """How the synthetic smears are drawn."""

    section: ClassVar[str] = "fetch.synthetic"
    infected_patients: int = Field(ge=3)
    healthy_patients: int = Field(ge=3)
    cells: int = Field(ge=60, description="cells in all, spread unevenly over the patients")
    seed: int = Field(ge=0)


class FetchParams(Section):
    """Where the zip of cell images comes from and which bytes it must have."""

    section: ClassVar[str] = "fetch"
    url: str = Field(min_length=1, description="http(s) address, path, or 'synthetic'")
    sha256: Sha256 | None
    synthetic: SyntheticParams | None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.url == SYNTHETIC and (self.synthetic is None or self.sha256 is not None):
            raise ValueError(
                "url 'synthetic' needs a `synthetic` section, and sha256: null "
                "because the seed fixes the bytes"
            )
        if self.url != SYNTHETIC and (self.synthetic is not None or self.sha256 is None):
            raise ValueError(f"url {self.url!r} needs the sha256 of its file, and synthetic: null")
        return self
