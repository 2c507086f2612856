"""The gate's judgement: the outcome, all that it rests on, and both as JSON."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum, auto
from typing import Any

from malaria.gate.paired import PairedDifference
from malaria.gate.params import SLICES, GateParams
from malaria.gate.patients import PatientLoss
from malaria.gate.predictions import shown
from malaria.gate.verdict import MetricVerdict


@dataclass(frozen=True)
class Overlap:
    """What two different test splits have in common."""

    shared: int  # cells in both
    relabelled: int  # of these, with another label or patient
    base_only: int
    head_only: int
    base_patients: int
    head_patients: int
    shared_patients: int


@dataclass(frozen=True)
class Slice:
    """A metric's difference in a part of the test patients; exploratory, nothing is corrected."""

    name: str  # one of SLICES
    patients: int
    cells: int
    difference: PairedDifference
    got_worse: bool


@dataclass(frozen=True)
class Comparison:
    """Head against one other model on the same test cells.

    With an `overlap`, the other was tested on different cells. Then its model was evaluated on the
    head's (`is_evaluated`), without those of patients that it was trained or chosen on; or only
    the cells that both have are compared. An other that was chosen for being ahead of the head
    (`is_chosen`) has no p-values.
    """

    thresholds: tuple[float, float]
    cells: int
    patients: int
    metrics: dict[str, MetricVerdict]
    collapsed: list[PatientLoss]
    slices: list[Slice]
    overlap: Overlap | None = None
    is_evaluated: bool = False
    is_chosen: bool = False


class Outcome(StrEnum):
    """The gate's answer."""

    PASS = auto()
    FAIL = auto()
    INCONCLUSIVE = auto()
    NOT_COMPARABLE = auto()
    GONE = auto()  # the base's results are missing
    FIRST_RUN = auto()
    RESET = auto()
    LOSS_ACCEPTED = auto()
    RETIRED = auto()
    NO_RESULTS = auto()


MOST_PATIENTS = 100  # of those that collapsed, in the JSON
RED = {Outcome.FAIL, Outcome.NOT_COMPARABLE, Outcome.GONE}
FAILED, UNDECIDED = 1, 3  # exit codes; 2 is wrong use or broken input


@dataclass(frozen=True)
class Judgement:
    """The outcome, and all that it rests on.

    `against` has the comparison, or how the test splits differ, for 'base' and 'reference', if
    there is such a model.
    """

    outcome: Outcome
    reasons: list[str]
    params: GateParams | None = None
    fingerprint: str = ""  # of the test cells; without results '', and all below is empty
    cells: int = 0
    patients: int = 0
    head: dict[str, float] = field(default_factory=dict)  # gated metrics of the head
    against: dict[str, Comparison | Overlap] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0: may be merged; 1: not; 3: a person must decide."""
        if self.outcome == Outcome.INCONCLUSIVE:
            is_red = self.params is not None and self.params.inconclusive == "fail"
            return FAILED if is_red else UNDECIDED
        return FAILED if self.outcome in RED else 0

    def to_json(self) -> str:
        """Return all numbers; what is not defined is null."""
        content = {
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "reasons": self.reasons,
            "test": {"sha256": self.fingerprint, "cells": self.cells, "patients": self.patients},
            "head": self.head,
            "against": {
                name: _content(other, self.params.level)
                for name, other in self.against.items()
                if self.params is not None
            },
            "params": None if self.params is None else self.params.model_dump(),
        }
        without_nan = json.loads(json.dumps(content), parse_constant=lambda _: None)
        return json.dumps(without_nan, indent=2) + "\n"


def _content(other: Comparison | Overlap, level: float) -> dict[str, Any]:
    if isinstance(other, Overlap):
        return {"overlap": vars(other)}
    return {
        "thresholds": dict(zip(("other", "head"), other.thresholds, strict=True)),
        "cells": other.cells,
        "patients": other.patients,
        "overlap": vars(other.overlap) if other.overlap else None,
        "is_evaluated": other.is_evaluated,
        "is_chosen": other.is_chosen,
        "metrics": {
            metric: {
                **_numbers(found.difference, level),
                "margin": found.rule.margin,
                "floor": found.rule.floor,
                "p_beyond_margin": found.difference.p_beyond(found.rule.margin),
                "p_loss_corrected": found.p_corrected,
                "verdict": found.verdict,
                "reason": found.reason,
            }
            for metric, found in other.metrics.items()
        },
        "collapsed": len(other.collapsed),
        "collapsed_patients": [
            asdict(one) | {"patient": shown(one.patient), "loss": one.loss}
            for one in other.collapsed[:MOST_PATIENTS]
        ],
        "slices": [
            {
                "slice": SLICES[part.name],
                "patients": part.patients,
                "cells": part.cells,
                "metric": part.difference.metric,
                **_numbers(part.difference, level),
                "got_worse": part.got_worse,
            }
            for part in other.slices
        ],
    }


def _numbers(difference: PairedDifference, level: float) -> dict[str, float]:
    low, high = difference.interval(level)
    return {
        "other": difference.base,
        "head": difference.head,
        "difference": difference.difference,
        "standard_error": difference.error,
        "effective_patients": difference.patients,
        "low": low,
        "high": high,
        "at_least": difference.at_least(level),
        "p_loss": difference.p_loss(),
    }
