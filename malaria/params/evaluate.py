"""Params of the evaluate stage."""

from typing import ClassVar, Literal

from pydantic import Field

from malaria.params.base import Section


class EvaluateParams(Section):
    """How the operating point is chosen, on validation patients only, and intervals are drawn."""

    section: ClassVar[str] = "evaluate"
    threshold: Literal["youden", "fixed_0.5", "sensitivity_0.95", "specificity_0.95"]
    replicates: int = Field(ge=100, description="resamples of the patients for each interval")
    seed: int = Field(ge=0)
