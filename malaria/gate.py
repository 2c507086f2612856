"""Is this model worse than the base's? Judged from Git-tracked predictions and metrics alone."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

import numpy as np

from malaria.errors import MalariaError
from malaria.evaluated import KEY, Evaluated, Files, listed, read_evaluated
from malaria.metrics import compute_metrics
from malaria.paired import PairedDifference, paired_differences
from malaria.params.gate import BaselineReset, GateParams
from malaria.splitting import patient_strata
from malaria.subgroups import THIRDS
from malaria.verdict import Judged, Verdict, breaks_floor, holm, judge_metric, overall

# Base and head, tested on other cells: what the base's model says of the head's that it can judge.
EvaluateBase = Callable[[Evaluated, Evaluated], Evaluated]


@dataclass(frozen=True)
class Overlap:
    """How two test splits that are not the same relate."""

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

    name: str
    patients: int
    cells: int
    difference: PairedDifference
    got_worse: bool


@dataclass(frozen=True)
class Comparison:
    """Head against one other model on the same test cells.

    `overlap` is there where the other was tested on other cells and its model was evaluated anew:
    on the head's, less those of patients that it knew.
    """

    thresholds: tuple[float, float]
    cells: int
    patients: int
    metrics: dict[str, Judged]
    slices: list[Slice]
    overlap: Overlap | None


class Outcome(StrEnum):
    """What the gate says in the end."""

    PASS = auto()
    FAIL = auto()
    INCONCLUSIVE = auto()
    NOT_COMPARABLE = auto()
    FIRST_RUN = auto()
    RESET = auto()


@dataclass(frozen=True)
class Judgement:
    """The outcome, and all that it rests on.

    `against` has the comparison, or how the test splits differ, for 'base' and 'reference',
    where there is such a model.
    """

    outcome: Outcome
    reasons: list[str]
    params: GateParams
    fingerprint: str
    cells: int
    patients: int
    head: dict[str, float]  # gated metrics of the head alone
    against: dict[str, Comparison | Overlap]

    @property
    def exit_code(self) -> int:
        """0: may be merged; 1: not."""
        stops = {Outcome.FAIL, Outcome.NOT_COMPARABLE}
        if self.params.inconclusive == "fail":
            stops.add(Outcome.INCONCLUSIVE)
        return int(self.outcome in stops)

    def to_json(self) -> str:
        """Return all numbers; what is not defined is null."""
        content = {
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "reasons": self.reasons,
            "test": {"sha256": self.fingerprint, "cells": self.cells, "patients": self.patients},
            "head": self.head,
            "against": {
                name: _comparison_json(other, self.params.level)
                if isinstance(other, Comparison)
                else {"overlap": vars(other)}
                for name, other in self.against.items()
            },
            "params": self.params.model_dump(),
        }
        return json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n"


def judge_files(
    head: Files,
    base: Files | None,
    reference: Files | None,
    params: GateParams,
    base_commit: str,
    evaluate_base: EvaluateBase | None = None,
) -> Judgement:
    """Return the judgement on what the revisions have in Git; None has no predictions.

    Raises MalariaError for input that cannot be read or trusted.
    """
    others = {"base": base, "reference": reference if reference != base else None}
    return judge(
        read_evaluated(head, "the pull request"),
        {name: read_evaluated(files, f"the {name}") for name, files in others.items() if files},
        params,
        base_commit,
        evaluate_base,
    )


def judge(
    head: Evaluated,
    others: Mapping[str, Evaluated],
    params: GateParams,
    base_commit: str,
    evaluate_base: EvaluateBase | None = None,
) -> Judgement:
    """Return the judgement on the head against the others: 'base' and, for drift, 'reference'.

    The base decides. The reference can only fail the gate: it is there for small losses that
    add up over many merges. All p-values of losses are corrected together. `evaluate_base` is
    asked, where it is given, for what a base of other test cells says of the head's.
    Raises MalariaError where test patients of the base have vanished and none came in.
    """
    reset = params.baseline_reset
    if reset is not None and reset.commit != base_commit:
        reset = None
    pairs = {name: (other, head) for name, other in others.items() if _same_cells(other, head)}
    if reset is None and "base" in others and "base" not in pairs:
        _refuse_vanished(others["base"], head)
        if evaluate_base is not None:
            anew = evaluate_base(others["base"], head)
            pairs["base"] = anew, head.only(anew.cells["cell_id"])
    measured = {name: _measure(*pair, params) for name, pair in pairs.items()}
    corrected = holm(
        {
            f"{name} {metric}": difference.p_loss()
            for name, differences in measured.items()
            for metric, difference in differences.items()
        }
    )
    against: dict[str, Comparison | Overlap] = {
        name: Comparison(
            (other.threshold, head.threshold),
            len(pairs[name][1].cells),
            pairs[name][1].cells["patient"].nunique(),
            {
                metric: judge_metric(
                    difference,
                    params.metrics[metric],
                    corrected[f"{name} {metric}"],
                    params.level,
                )
                for metric, difference in measured[name].items()
            },
            list(_slices(*pairs[name], params)),
            None if _same_cells(other, head) else _overlap(other, head),
        )
        if name in pairs
        else _overlap(other, head)
        for name, other in others.items()
    }
    values = compute_metrics(head.cells, head.threshold)
    mine = {metric: values[metric] for metric in params.metrics}
    outcome, reasons = _decide(against, mine, params, reset)
    return Judgement(
        outcome,
        reasons,
        params,
        head.fingerprint,
        len(head.cells),
        head.cells["patient"].nunique(),
        mine,
        against,
    )


def _decide(
    against: Mapping[str, Comparison | Overlap],
    head: Mapping[str, float],
    params: GateParams,
    reset: BaselineReset | None,
) -> tuple[Outcome, list[str]]:
    broken = [
        f"{metric} {head[metric]:.3f} is below the floor {rule.floor:g}"
        for metric, rule in params.metrics.items()
        if breaks_floor(head[metric], rule)
    ]
    if broken:
        return Outcome.FAIL, broken
    base = against.get("base")
    if reset is not None and base is not None:
        return Outcome.RESET, [reset.reason]
    failed = [
        f"{metric} against the {name}: {judged.reason}"
        for name, other in against.items()
        if isinstance(other, Comparison)
        for metric, judged in other.metrics.items()
        if judged.verdict == Verdict.FAIL
    ]
    if failed:
        return Outcome.FAIL, failed
    if base is None:
        return Outcome.FIRST_RUN, ["the base has no predictions to compare with"]
    if isinstance(base, Overlap):
        return Outcome.NOT_COMPARABLE, [
            "the base was tested on other cells or labels, so a difference of the numbers would "
            "say nothing of the models; where DVC's cache has the base's model and the data (uv "
            "run dvc fetch --all-commits), `uv run malaria gate --evaluate-base` evaluates it on "
            "the new test cells; else set gate.baseline_reset to the base's commit and the reason"
        ]
    verdict = overall(judged.verdict for judged in base.metrics.values())
    return Outcome(verdict.value), [
        f"{metric}: {judged.reason}"
        for metric, judged in base.metrics.items()
        if judged.verdict == verdict
    ]


def _measure(other: Evaluated, head: Evaluated, params: GateParams) -> dict[str, PairedDifference]:
    return paired_differences(
        other.cells,
        head.cells,
        (other.threshold, head.threshold),
        params.replicates,
        params.seed,
        list(params.metrics),
    )


def _slices(other: Evaluated, head: Evaluated, params: GateParams) -> Iterator[Slice]:
    """Give the gated metrics of healthy and infected patients and of thirds of parasite burden."""
    stratum = head.cells["patient"].map(patient_strata(head.cells))
    members = {
        "healthy patients": stratum == 0,
        "infected patients": stratum > 0,
        **{
            f"{third} third of parasite burden": stratum == number
            for number, third in enumerate(THIRDS, start=1)
        },
    }
    for name, chosen in members.items():
        if not chosen.any():
            continue
        theirs, ours = (Evaluated(one.cells[chosen], one.threshold) for one in (other, head))
        for difference in _measure(theirs, ours, params).values():
            if np.isnan(difference.base):  # no cell of the class
                continue
            yield Slice(
                name,
                head.cells.loc[chosen, "patient"].nunique(),
                int(chosen.sum()),
                difference,
                difference.p_loss() < 1 - params.level,
            )


def _same_cells(one: Evaluated, other: Evaluated) -> bool:
    return one.fingerprint == other.fingerprint


def _overlap(base: Evaluated, head: Evaluated) -> Overlap:
    both = base.cells[KEY].merge(head.cells[KEY], on="cell_id", suffixes=("_base", "_head"))
    changed = (both["label_base"] != both["label_head"]) | (
        both["patient_base"] != both["patient_head"]
    )
    patients = [set(one.cells["patient"]) for one in (base, head)]
    return Overlap(
        shared=len(both),
        relabelled=int(changed.sum()),
        base_only=len(base.cells) - len(both),
        head_only=len(head.cells) - len(both),
        base_patients=len(patients[0]),
        head_patients=len(patients[1]),
        shared_patients=len(patients[0] & patients[1]),
    )


def _refuse_vanished(base: Evaluated, head: Evaluated) -> None:
    """Refuse a test split that only lost patients: without its hard ones any model looks better."""
    before, now = (set(one.cells["patient"]) for one in (base, head))
    if now < before:
        gone = sorted(before - now)
        raise MalariaError(
            f"{len(gone)} of the base's {len(before)} test patients are not in the pull request's "
            f"predictions ({listed(gone)}) and no other came in; test on all of them, or set "
            "gate.baseline_reset to the base's commit and the reason."
        )


def _comparison_json(comparison: Comparison, level: float) -> dict[str, Any]:
    return {
        "thresholds": dict(zip(("other", "head"), comparison.thresholds, strict=True)),
        "cells": comparison.cells,
        "patients": comparison.patients,
        "overlap": vars(comparison.overlap) if comparison.overlap else None,
        "metrics": {
            metric: {
                **_difference_json(judged.difference, level),
                "margin": judged.rule.margin,
                "floor": judged.rule.floor,
                "p_beyond_margin": judged.difference.p_beyond(judged.rule.margin),
                "p_loss_corrected": judged.p_corrected,
                "verdict": judged.verdict,
                "reason": judged.reason,
            }
            for metric, judged in comparison.metrics.items()
        },
        "slices": [
            {
                "slice": part.name,
                "patients": part.patients,
                "cells": part.cells,
                "metric": part.difference.metric,
                **_difference_json(part.difference, level),
                "got_worse": part.got_worse,
            }
            for part in comparison.slices
        ],
    }


def _difference_json(difference: PairedDifference, level: float) -> dict[str, Any]:
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


def _without_nan(value: Any) -> Any:
    """Return nested values with null for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
