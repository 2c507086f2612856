"""Is this model worse than the base's? Judged only from Git-tracked predictions and metrics."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from malaria.data.split import patient_strata
from malaria.errors import MalariaError
from malaria.evaluation.metrics import compute_metrics
from malaria.evaluation.names import name_of
from malaria.evaluation.subgroups import THIRDS
from malaria.gate.judgement import Comparison, Judgement, Outcome, Overlap, Slice
from malaria.gate.paired import PairedDifference, paired_differences
from malaria.gate.params import BaselineReset, GateParams
from malaria.gate.predictions import KEY, Evaluated, Files, listed, read_evaluated
from malaria.gate.verdict import Verdict, breaks_floor, holm, judge_metric, overall

# Called if base and head have different test cells: the base model's predictions on the head's.
EvaluateBase = Callable[[Evaluated, Evaluated], Evaluated]
RESET = "in a pull request set gate.baseline_reset to the base's commit and the reason"


def judge(
    head: Files,
    base: Files | None,
    reference: Files | None,
    params: GateParams,
    base_commit: str,
    evaluate_base: EvaluateBase | None = None,
) -> Judgement:
    """Return the judgement on the head's results, against those of base and reference.

    None: no predictions. The base decides. The reference can only fail the gate: it is there for
    small losses that add up over many merges. All p-values of losses are corrected together.
    `evaluate_base`, if given, is called for a base that was tested on other cells. Raises
    MalariaError for input that cannot be read or trusted, and if test patients of the base have
    vanished and no other came in.
    """
    ours = read_evaluated(head, "the pull request")
    files = {"base": base, "reference": reference if reference != base else None}
    others = {name: read_evaluated(found, f"the {name}") for name, found in files.items() if found}
    reset = params.baseline_reset
    if reset is not None and reset.commit != base_commit:
        reset = None
    pairs = {
        name: (other, ours)
        for name, other in others.items()
        if other.fingerprint == ours.fingerprint
    }
    overlaps = {name: _overlap(others[name], ours) for name in others if name not in pairs}
    if reset is None and "base" in overlaps:
        _refuse_vanished(others["base"], ours)
        if evaluate_base is not None:
            again = evaluate_base(others["base"], ours)
            is_shared = ours.cells["cell_id"].isin(again.cells["cell_id"])
            pairs["base"] = again, ours.only(is_shared)
    against = overlaps | _compare(pairs, overlaps, params)
    values = compute_metrics(ours.cells, ours.threshold)
    gated = {metric: values[metric] for metric in params.metrics}
    outcome, reasons = _decide(against, gated, params, reset)
    return Judgement(
        outcome,
        reasons,
        params,
        ours.fingerprint,
        len(ours.cells),
        ours.cells["patient"].nunique(),
        gated,
        {name: against[name] for name in others},
    )


def _compare(
    pairs: Mapping[str, tuple[Evaluated, Evaluated]],
    overlaps: Mapping[str, Overlap],
    params: GateParams,
) -> dict[str, Comparison]:
    """Return the comparison of each pair (other, head), whose cells are the same."""
    measured = {name: _measure(*pair, params) for name, pair in pairs.items()}
    corrected = holm(
        {
            f"{name} {metric}": difference.p_loss()
            for name, differences in measured.items()
            for metric, difference in differences.items()
        }
    )
    return {
        name: Comparison(
            thresholds=(other.threshold, head.threshold),
            cells=len(head.cells),
            patients=head.cells["patient"].nunique(),
            metrics={
                metric: judge_metric(
                    difference, params.metrics[metric], corrected[f"{name} {metric}"], params.level
                )
                for metric, difference in measured[name].items()
            },
            slices=list(_slices(other, head, params)),
            overlap=overlaps.get(name),
        )
        for name, (other, head) in pairs.items()
    }


def _decide(
    against: Mapping[str, Comparison | Overlap],
    head: Mapping[str, float],
    params: GateParams,
    reset: BaselineReset | None,
) -> tuple[Outcome, list[str]]:
    broken = [
        f"{name_of(metric)} {head[metric]:.3f} is below the floor {rule.floor:g}"
        for metric, rule in params.metrics.items()
        if breaks_floor(head[metric], rule)
    ]
    if broken:
        return Outcome.FAIL, broken
    base = against.get("base")
    if reset is not None and base is not None:
        return Outcome.RESET, [reset.reason]
    failed = [
        f"{name_of(metric)} against the {name}: {found.reason}"
        for name, other in against.items()
        if isinstance(other, Comparison)
        for metric, found in other.metrics.items()
        if found.verdict == Verdict.FAIL
    ]
    if failed:
        return Outcome.FAIL, failed
    if base is None:
        return Outcome.FIRST_RUN, ["the base has no predictions to compare with"]
    if isinstance(base, Overlap):
        return Outcome.NOT_COMPARABLE, [
            "the base was tested on other cells or labels, so a difference of the numbers says "
            "nothing about the models; if DVC's cache has the base's model and the data, "
            f"--evaluate-base tests its model on the new cells; else {RESET}"
        ]
    verdict = overall(found.verdict for found in base.metrics.values())
    return Outcome(verdict.value), [
        f"{name_of(metric)}: {found.reason}"
        for metric, found in base.metrics.items()
        if found.verdict == verdict
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
    members = {"healthy patients": stratum == 0, "infected patients": stratum > 0}
    for number, third in enumerate(THIRDS, start=1):
        members[f"{third} third of parasite burden"] = stratum == number
    for name, chosen in members.items():
        if not chosen.any():
            continue
        theirs, ours = other.only(chosen), head.only(chosen)
        for difference in _measure(theirs, ours, params).values():
            if not np.isnan(difference.base):  # else there is no cell of the class
                yield Slice(
                    name,
                    ours.cells["patient"].nunique(),
                    len(ours.cells),
                    difference,
                    difference.p_loss() < 1 - params.level,
                )


def _overlap(base: Evaluated, head: Evaluated) -> Overlap:
    both = base.cells[KEY].merge(head.cells[KEY], on="cell_id", suffixes=("_base", "_head"))
    changed = (both["label_base"] != both["label_head"]) | (
        both["patient_base"] != both["patient_head"]
    )
    before, now = (set(one.cells["patient"]) for one in (base, head))
    return Overlap(
        shared=len(both),
        relabelled=int(changed.sum()),
        base_only=len(base.cells) - len(both),
        head_only=len(head.cells) - len(both),
        base_patients=len(before),
        head_patients=len(now),
        shared_patients=len(before & now),
    )


def _refuse_vanished(base: Evaluated, head: Evaluated) -> None:
    """Refuse a test split that only lost patients: without the hard ones any model looks better."""
    before, now = (set(one.cells["patient"]) for one in (base, head))
    if now < before:
        gone = sorted(before - now)
        raise MalariaError(
            f"{len(gone)} of the base's {len(before)} test patients are not in the pull request's "
            f"predictions ({listed(gone)}) and no other came in; test on all of them, or {RESET}."
        )
