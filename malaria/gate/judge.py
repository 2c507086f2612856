"""Is this model worse than the base's? Judged only from Git-tracked predictions and metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from malaria.errors import MalariaError
from malaria.evaluation.metrics import compute_metrics
from malaria.evaluation.names import name_of
from malaria.gate.judgement import Comparison, Judgement, Outcome, Overlap, Slice
from malaria.gate.paired import PairedDifference, paired_differences
from malaria.gate.params import SLICES, Decision, GateParams
from malaria.gate.patients import collapsed_patients, slices_of
from malaria.gate.predictions import (
    LISTED,
    Evaluated,
    Files,
    printable,
    read_evaluated,
    shown,
)
from malaria.gate.verdict import Verdict, breaks_floor, holm, judge_metric, overall
from malaria.gate.yardstick import (
    RESET,
    in_common,
    is_same_yardstick,
    overlap_of,
    refuse_changed,
    refuse_vanished,
)
from malaria.pipeline.git import REFERENCE

# Called if base and head have different test cells: the base model's predictions on the head's.
EvaluateBase = Callable[[Evaluated, Evaluated], Evaluated]


@dataclass(frozen=True)
class Pair:
    """Two models' predictions of the same cells, and how they came to be the same."""

    other: Evaluated
    head: Evaluated
    overlap: Overlap | None = None
    is_evaluated: bool = False


def judge(
    head: Files,
    base: Files | None,
    reference: Files | None,
    params: GateParams,
    base_commit: str,
    evaluate_base: EvaluateBase | None = None,
    accepted: Callable[[Evaluated], Iterable[Evaluated]] | None = None,
) -> Judgement:
    """Return the judgement on the head's results, against those of base and reference.

    None: no predictions. The base decides. The reference can only fail the gate: it is there for
    small losses that add up over many merges. Without one, or if it is of other test cells, it is
    that result, of those that `accepted` gives for the head's, to which the head loses most.
    `evaluate_base`, if given, is called for a base that was tested on other cells. Raises
    MalariaError for input that cannot be read or trusted, and if test cells of the base have
    vanished or have another patient or label.
    """
    ours = read_evaluated(head, "the pull request")
    reset, accept = (
        decision if decision is not None and decision.commit == base_commit else None
        for decision in (params.baseline_reset, params.accept_loss)
    )
    theirs = _read_base(base, reset)
    tagged = None
    if reference is not None and reference != base:
        tagged = read_evaluated(reference, "the reference")
    against: dict[str, Pair | Overlap] = {}
    if theirs is not None:
        against["base"] = _pair(theirs, ours, reset, evaluate_base)
    if tagged is not None:
        against["reference"] = _alike(tagged, ours)
    compared = _compare(against, params)
    is_reset = reset is not None and isinstance(against.get("base"), Overlap)
    # A tag on other test cells says nothing about these.
    has_none = reference is None or isinstance(against.get("reference"), Overlap)
    if accepted is not None and has_none and not is_reset:
        others = [_alike(other, ours) for other in accepted(ours) if other != theirs]
        pairs = [other for other in others if isinstance(other, Pair)]
        # Chosen after the fact, its p-values say nothing: only the estimates count.
        ahead = max(pairs, key=lambda pair: _most_lost(pair, params), default=None)
        if ahead is not None:
            compared |= _compare({"reference": ahead}, params, is_chosen=True)
    return Judgement(
        *_decide(compared, ours, params, base is not None, reset, accept),
        params,
        ours.fingerprint,
        len(ours.cells),
        ours.cells["patient"].nunique(),
        _gated(ours, params.metrics),
        compared,
    )


def losses(before: Evaluated, after: Evaluated, params: GateParams) -> list[str]:
    """Return why a model fails against an earlier one on the same cells; [] if it does not."""
    return list(_failures(_compare({"base": Pair(before, after)}, params)))


def _read_base(base: Files | None, reset: Decision | None) -> Evaluated | None:
    """Return the base's results; ones that cannot be read do not count after a reset."""
    if base is None:
        return None
    try:
        return read_evaluated(base, "the base")
    except MalariaError as error:
        if reset is not None:
            return None
        raise MalariaError(f"{str(error).removesuffix('.')}; or {RESET}.") from None


def _pair(
    base: Evaluated, head: Evaluated, reset: Decision | None, evaluate_base: EvaluateBase | None
) -> Pair | Overlap:
    """Return what can be compared of base and head, else how their test cells differ."""
    if reset is not None or base.fingerprint == head.fingerprint:
        return _alike(base, head)
    overlap = overlap_of(base, head)
    refuse_changed(base, head)
    refuse_vanished(base, head)
    if evaluate_base is None:
        return overlap
    again = evaluate_base(base, head)
    is_shared = head.cells["cell_id"].isin(again.cells["cell_id"]).to_numpy()
    return Pair(again, head.only(is_shared), overlap, is_evaluated=True)


def _alike(other: Evaluated, head: Evaluated) -> Pair | Overlap:
    """Return both on their common cells, if these are nearly all."""
    if other.fingerprint == head.fingerprint:
        return Pair(other, head)
    overlap = overlap_of(other, head)
    is_same = is_same_yardstick(other, head)
    return Pair(*in_common(other, head), overlap) if is_same else overlap


def _most_lost(pair: Pair, params: GateParams) -> float:
    """Return the largest loss of a gated metric, in its margins."""
    before, now = (_gated(one, params.metrics) for one in (pair.other, pair.head))
    return max(
        float(np.nan_to_num((before[metric] - now[metric]) / rule.margin, nan=-np.inf))
        for metric, rule in params.metrics.items()
    )


def _compare(
    against: Mapping[str, Pair | Overlap], params: GateParams, is_chosen: bool = False
) -> dict[str, Comparison | Overlap]:
    """Return the comparisons; the p-values of all their losses are corrected together."""
    pairs = {name: pair for name, pair in against.items() if isinstance(pair, Pair)}
    measured = {name: _measure(pair.other, pair.head, params) for name, pair in pairs.items()}
    corrected = holm(
        {
            f"{name} {metric}": np.nan if is_chosen else difference.p_loss()
            for name, differences in measured.items()
            for metric, difference in differences.items()
        }
    )
    compared: dict[str, Comparison | Overlap] = {}
    for name, found in against.items():
        if isinstance(found, Overlap):
            compared[name] = found
            continue
        thresholds = found.other.threshold, found.head.threshold
        cells = found.other.cells, found.head.cells
        compared[name] = Comparison(
            thresholds=thresholds,
            cells=len(found.head.cells),
            patients=found.head.cells["patient"].nunique(),
            metrics={
                metric: judge_metric(
                    difference, params.metrics[metric], corrected[f"{name} {metric}"], params.level
                )
                for metric, difference in measured[name].items()
            },
            collapsed=[] if is_chosen else collapsed_patients(*cells, thresholds, params),
            slices=list(_slices(found.other, found.head, params)),
            overlap=found.overlap,
            is_evaluated=found.is_evaluated,
            is_chosen=is_chosen,
        )
    return compared


def _decide(
    against: Mapping[str, Comparison | Overlap],
    head: Evaluated,
    params: GateParams,
    has_base: bool,
    reset: Decision | None,
    accept: Decision | None,
) -> tuple[Outcome, list[str]]:
    if broken := list(_broken_floors(head, params)):
        return Outcome.FAIL, broken
    base = against.get("base")
    worse = list(_failures({"base": base})) if base else []
    drifted = list(_failures({name: one for name, one in against.items() if name != "base"}))
    if worse and reset is not None:
        worse.append(
            "gate.baseline_reset is for another yardstick, and nearly all test cells are the "
            "same; a loss on them is accepted by gate.accept_loss"
        )
    if drifted and accept is not None:
        drifted.append(
            "gate.accept_loss speaks of the base alone; whoever may move tags accepts the loss "
            f"against the reference, by the tag {REFERENCE} on the base until this is merged"
        )
    if drifted or (worse and accept is None):
        return Outcome.FAIL, worse + drifted
    if not has_base:
        return Outcome.FIRST_RUN, ["the base has no predictions to compare with"]
    if not isinstance(base, Comparison):
        if reset is not None:
            return Outcome.RESET, [printable(reset.reason)]
        return Outcome.NOT_COMPARABLE, [
            "the base was tested on other cells, so a difference of the numbers says nothing "
            "about the models; if DVC's cache has the base's model and the data, --evaluate-base "
            f"tests its model on the new cells; else {RESET}"
        ]
    verdict = overall(found.verdict for found in base.metrics.values())
    reasons = worse or [
        f"{name_of(metric)}: {found.reason}"
        for metric, found in base.metrics.items()
        if found.verdict == verdict
    ]
    if verdict != Verdict.PASS or worse:
        if accept is not None:
            return Outcome.LOSS_ACCEPTED, [printable(accept.reason), *reasons]
    elif reset is not None and base.overlap is not None:
        return Outcome.RESET, [printable(reset.reason), *reasons]
    return Outcome(verdict.value), reasons


def _failures(against: Mapping[str, Comparison | Overlap]) -> Iterator[str]:
    """Give why the head fails against the others: by a metric, or by a single patient."""
    for name, other in against.items():
        if isinstance(other, Comparison):
            for metric, found in other.metrics.items():
                if found.verdict == Verdict.FAIL:
                    yield f"{name_of(metric)} against the {name}: {found.reason}"
            for one in other.collapsed[:LISTED]:
                yield f"patient {shown(one.patient)} collapsed against the {name}: {one}"
            if len(other.collapsed) > LISTED:
                yield f"{len(other.collapsed) - LISTED} more patients collapsed against the {name}"


def _broken_floors(head: Evaluated, params: GateParams) -> Iterator[str]:
    for metric, value in _gated(head, params.metrics).items():
        floor = params.metrics[metric].floor
        if breaks_floor(value, floor):
            yield f"{name_of(metric)} {value:.3f} is below the floor {floor:g}"
    floors = params.slices or {}
    for name, chosen in slices_of(head.cells):
        for metric, value in _gated(head.only(chosen), floors.get(name, ())).items():
            if breaks_floor(value, floors[name][metric]):
                yield (
                    f"{name_of(metric)} of {SLICES[name]} {value:.3f} is below the floor "
                    f"{floors[name][metric]:g}"
                )


def _gated(one: Evaluated, metrics: Iterable[str]) -> dict[str, float]:
    names = list(metrics)
    values = compute_metrics(one.cells, one.threshold) if names else {}
    return {metric: float(values[metric]) for metric in names}


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
    for name, chosen in slices_of(head.cells):
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
