"""Params of the pull-request gate; no stage depends on them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator

from malaria.core.params import OR_NONE, Section

# They are sums over patients, or over pairs of them, so paired.py has a fast form of each.
CAN_BE_GATED = ("sensitivity", "specificity", "roc_auc")


class MetricRule(Section):
    """What one metric may lose, and what it must reach in any case."""

    section: ClassVar[str] = "gate.metrics"
    margin: float = Field(
        gt=0, lt=1, description="largest loss that still counts as no loss, 0 to 1"
    )
    floor: Annotated[float | None, Field(gt=0, lt=1), OR_NONE] = Field(
        description="below it the gate fails whatever the base has"
    )


class BaselineReset(Section):
    """A reviewed decision that one base no longer serves for comparison."""

    section: ClassVar[str] = "gate.baseline_reset"
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] = Field(
        description="the base that is meant; for any other the reset is void"
    )
    reason: str = Field(min_length=10)


class GateParams(Section):
    """How a model is compared with that of the merge base, and what each answer means."""

    section: ClassVar[str] = "gate"
    metrics: dict[str, MetricRule] = Field(min_length=1)
    level: float = Field(ge=0.5, lt=1, description="of the one-sided bound; 1 - level of the loss")
    replicates: int = Field(ge=1000, description="resamples of the patients")
    seed: int = Field(ge=0)
    inconclusive: Literal["neutral", "fail"] = Field(description="fail: exit code 1, else 0")
    baseline_reset: Annotated[BaselineReset | None, OR_NONE]

    @field_validator("metrics")
    @classmethod
    def _can_be_gated(cls, metrics: dict[str, MetricRule]) -> dict[str, MetricRule]:
        for name in metrics:
            if name not in CAN_BE_GATED:
                raise ValueError(f"{name!r} cannot be gated; take {', '.join(CAN_BE_GATED)}")
        return metrics
