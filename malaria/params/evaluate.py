"""Params of the evaluate stage."""

from typing import ClassVar, Literal

from malaria.params.base import Section


class EvaluateParams(Section):
    """How the operating point is chosen, on validation patients only."""

    section: ClassVar[str] = "evaluate"
    threshold: Literal["youden", "fixed_0.5", "sensitivity_0.95", "specificity_0.95"]
