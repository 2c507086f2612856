"""Params of the stages predict and evaluate."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from malaria.core.params import Section, Sha256
from malaria.core.table import SPLITS


class ExternalSet(Section):
    """Labelled crops from elsewhere, and the hash that they must have."""

    section: ClassVar[str] = "evaluate.external"
    name: str = Field(pattern=r"^[a-z0-9_]{1,30}$", description="the key of its numbers")
    path: str = Field(min_length=1, description="zip or folder; see malaria/prediction/external.py")
    sha256: Sha256

    @field_validator("name")
    @classmethod
    def _is_no_split(cls, name: str) -> str:
        if name in SPLITS:
            raise ValueError(f"{name!r} is a split of the pipeline's cells; take another name")
        return name


class EvaluateParams(Section):
    """How the operating point is chosen, on validation patients only, and intervals are drawn."""

    section: ClassVar[str] = "evaluate"
    threshold: Literal["youden", "fixed_0.5", "sensitivity_0.95", "specificity_0.95"]
    replicates: int = Field(ge=100, description="resamples of the patients for each interval")
    seed: int = Field(ge=0)
    external: list[ExternalSet]

    @field_validator("external")
    @classmethod
    def _have_different_names(cls, sets: list[ExternalSet]) -> list[ExternalSet]:
        names = [one.name for one in sets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name!r} occurs more than once; rename the others")
        return sets
