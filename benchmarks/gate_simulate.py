"""Simulated comparisons of equal and of worse models, and the gate's verdicts on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.gate_population import Population, Shift
from malaria.evaluation.metrics import compute_metrics
from malaria.gate.paired import PairedDifference, paired_differences
from malaria.gate.params import CAN_BE_GATED, GateParams
from malaria.gate.patients import PatientLoss, collapsed_patients
from malaria.gate.verdict import Verdict, holm, judge_metric, overall

THRESHOLD = 0.5  # margins are logits less the run's own threshold, so it is that of all runs
BALANCED = "balanced accuracy"  # lost as both of its rates lose
Measured = dict[str, PairedDifference]


@dataclass(frozen=True)
class Compared:
    """What is measured between two models on the same cells."""

    metrics: Measured
    collapsed: list[PatientLoss]


def compare(
    pair: Sequence[pd.DataFrame], replicates: int, seed: int, params: GateParams
) -> Compared:
    """Return what is measured between a base and a head."""
    base, head = pair
    thresholds = THRESHOLD, THRESHOLD
    return Compared(
        paired_differences(base, head, thresholds, replicates, seed),
        collapsed_patients(base, head, thresholds, params),
    )


def retrained(
    population: Population, patients: int, simulations: int, replicates: int, params: GateParams
) -> list[tuple[Compared, dict[str, float]]]:
    """Return what is measured between two runs of one recipe, and the true differences."""
    found = []
    for number in range(simulations):
        rng = np.random.default_rng([patients, number])
        shifts = _runs(population, 2, rng)
        base, head = (population.truth(shift) for shift in shifts)
        truth = {metric: head[metric] - base[metric] for metric in CAN_BE_GATED}
        pair = population.draw(patients, shifts, rng)
        found.append((compare(pair, replicates, number, params), truth))
    return found


def worse(
    population: Population,
    patients: int,
    shift: Shift,
    simulations: int,
    replicates: int,
    params: GateParams,
) -> list[Compared]:
    """Return what is measured between a model and one that is worse by `shift`."""
    return [
        compare(
            population.draw(patients, [(0, 0), shift], np.random.default_rng([patients, number])),
            replicates,
            number,
            params,
        )
        for number in range(simulations)
    ]


def behind_accepted(
    population: Population, patients: int, accepted: int, simulations: int, params: GateParams
) -> float:
    """Return how often an equal retraining lies beyond a margin of one of so many earlier ones."""
    failed = 0
    for number in range(simulations):
        rng = np.random.default_rng([patients, accepted, number])
        head, *others = (
            values_of(run)
            for run in population.draw(patients, _runs(population, accepted + 1, rng), rng)
        )
        failed += any(
            other[metric] - head[metric] > rule.margin
            for other in others
            for metric, rule in params.metrics.items()
        )
    return failed / simulations


def smallest_caught(
    population: Population,
    patients: int,
    metric: str,
    share: float,
    simulations: int,
    replicates: int,
    params: GateParams,
) -> float:
    """Return the smallest true loss that fails so often, to a thousandth."""
    least, enough = 0, 200  # thousandths; the first is caught too seldom
    while enough - least > 1:
        loss = (least + enough) // 2
        shift = shift_for(population, metric, loss / 1000)
        found = worse(population, patients, shift, simulations, replicates, params)
        failed = [verdict_on(one, params) == Verdict.FAIL for one in found]
        least, enough = (least, loss) if np.mean(failed) >= share else (loss, enough)
    return enough / 1000


def shift_for(population: Population, metric: str, loss: float) -> Shift:
    """Return the shift that costs so much of a metric."""
    if metric != BALANCED:
        return population.shift_for(metric, loss)
    return (
        population.shift_for("sensitivity", loss)[0],
        population.shift_for("specificity", loss)[1],
    )


def verdict_on(compared: Compared, params: GateParams) -> Verdict:
    """Return the gate's verdict on one comparison."""
    if compared.collapsed:
        return Verdict.FAIL
    measured = compared.metrics
    corrected = holm({metric: measured[metric].p_loss() for metric in params.metrics})
    return overall(
        judge_metric(measured[metric], rule, corrected[metric], params.level).verdict
        for metric, rule in params.metrics.items()
    )


def margins_for(
    found: Sequence[Compared], params: GateParams, passed: float, failed: float
) -> dict[str, float]:
    """Return the smallest margins at which so many comparisons pass and so many fail at most.

    They are the same quantile of each metric's bound; the highest bounds where none is enough.
    """
    # Where nothing can be said, no margin is enough.
    bounds = pd.DataFrame(
        [
            {metric: one.metrics[metric].at_least(params.level) for metric in CAN_BE_GATED}
            for one in found
        ]
    ).fillna(-1.0)
    for quantile in np.linspace(passed, 1, 101):
        margins = (-bounds).quantile(quantile, interpolation="higher").clip(1e-6, 0.999).to_dict()
        verdicts = [verdict_on(one, with_margins(params, margins)) for one in found]
        if verdicts.count(Verdict.PASS) >= passed * len(verdicts) and verdicts.count(
            Verdict.FAIL
        ) <= failed * len(verdicts):
            break
    return dict(margins)


def with_margins(params: GateParams, margins: dict[str, float]) -> GateParams:
    """Return the params with other margins."""
    rules = {
        metric: rule.model_copy(update={"margin": margins[metric]})
        for metric, rule in params.metrics.items()
    }
    return params.model_copy(update={"metrics": rules})


def values_of(run: pd.DataFrame) -> dict[str, float]:
    """Return the metrics of a run."""
    return compute_metrics(run.assign(split="test"), THRESHOLD)


def _runs(population: Population, number: int, rng: np.random.Generator) -> list[Shift]:
    """Return the shifts of so many runs of one recipe."""
    scale = [population.disagreements[label].run for label in (1, 0)]
    return [(float(one[0]), float(one[1])) for one in rng.normal(scale=scale, size=(number, 2))]
