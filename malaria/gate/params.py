"""Params of the pull-request gate; no stage depends on them."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator

from malaria.core.params import OR_NONE, Section

# They are sums over patients, or over pairs of them, so paired.py has a fast form of each.
CAN_BE_GATED = ("sensitivity", "specificity", "roc_auc")
# Parts of the test patients that predictions alone tell apart, and what people call them.
SLICES = {
    "healthy": "healthy patients",
    "infected": "infected patients",
    "low_burden": "low third of parasite burden",
    "middle_burden": "middle third of parasite burden",
    "high_burden": "high third of parasite burden",
}
Share = Annotated[float, Field(gt=0, lt=1)]


class MetricRule(Section):
    """What one metric may lose, and what it must reach in any case."""

    section: ClassVar[str] = "gate.metrics"
    margin: Share = Field(description="largest loss that still counts as no loss")
    floor: Annotated[Share | None, OR_NONE] = Field(
        description="below it the gate fails whatever the base has"
    )


class PatientRule(Section):
    """What is a collapse of a single patient."""

    section: ClassVar[str] = "gate.patients"
    cells: int = Field(ge=1, description="of a class; a patient with fewer is not tested alone")
    margin: Share = Field(description="largest loss among them that is no collapse")


class Decision(Section):
    """A reviewed decision about one base."""

    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] = Field(
        description="the base that is meant; for any other the decision is void"
    )
    reason: str = Field(min_length=10, max_length=500)


class BaselineReset(Decision):
    """The base was measured by another yardstick, so it no longer serves for comparison."""

    section: ClassVar[str] = "gate.baseline_reset"


class AcceptLoss(Decision):
    """The results are worse than the base's on the same cells, and may be merged all the same."""

    section: ClassVar[str] = "gate.accept_loss"


class Retired(Decision):
    """The base's results in this folder are removed for good."""

    section: ClassVar[str] = "gate.retired"


class GateParams(Section):
    """How a model is compared with that of the merge base, and what each answer means."""

    section: ClassVar[str] = "gate"
    metrics: dict[str, MetricRule] = Field(min_length=1)
    patients: PatientRule
    slices: Annotated[dict[str, dict[str, Share]] | None, OR_NONE] = Field(
        description="floors of metrics in single slices: {<slice>: {<metric>: <floor>}}"
    )
    level: float = Field(ge=0.5, lt=1, description="of the one-sided bound; 1 - level of the loss")
    replicates: int = Field(ge=1000, le=100_000, description="resamples of the patients")
    seed: int = Field(ge=0)
    inconclusive: Literal["neutral", "fail"] = Field(description="exit code 3, or 1")
    baseline_reset: Annotated[BaselineReset | None, OR_NONE]
    accept_loss: Annotated[AcceptLoss | None, OR_NONE]
    retired: Annotated[Retired | None, OR_NONE]

    @field_validator("metrics")
    @classmethod
    def _can_be_gated(cls, metrics: dict[str, MetricRule]) -> dict[str, MetricRule]:
        _check_names(metrics, CAN_BE_GATED, "cannot be gated")
        return metrics

    @field_validator("slices")
    @classmethod
    def _are_slices(
        cls, slices: dict[str, dict[str, float]] | None
    ) -> dict[str, dict[str, float]] | None:
        _check_names(slices or {}, SLICES, "is no slice")
        for floors in (slices or {}).values():
            _check_names(floors, CAN_BE_GATED, "cannot have a floor in a slice")
        return slices

    def without_decisions(self) -> "GateParams":
        """Return the rules alone, where no pull request was reviewed."""
        return self.model_copy(update=dict.fromkeys(DECISIONS))


# The pull request's count, because they are reviewed with what they let in; rules are the base's.
DECISIONS = ("baseline_reset", "accept_loss", "retired")


def _check_names(given: Iterable[str], known: Iterable[str], fault: str) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            raise ValueError(f"{name!r} {fault}; take {', '.join(names)}")
