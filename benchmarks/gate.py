"""How often the gate passes equal models and stops worse ones, by the number of test patients."""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.report import publish, table
from malaria.gate import Files, judge, read_evaluated
from malaria.gate_comment import comment
from malaria.metrics import DIGITS, read_predictions
from malaria.paired import PAIRED, PairedDifference, paired_differences
from malaria.params.base import load
from malaria.params.gate import GateParams
from malaria.repeats import read_series
from malaria.verdict import Verdict, holm, judge_metric, overall

ROOT = Path(__file__).resolve().parents[1]
SECTION = "gate"
THRESHOLD = 0.5  # margins are logits less the run's own threshold, so it is that of all runs
CUT = 4.0  # logits; farther from the threshold a cell changes its call in no run
BINS = 2000  # of the distances between parasitized and uninfected cells
FEW_CELLS = 5  # of a patient, too few to tell what the patient itself adds
LOSSES = (0.01, 0.02, 0.04)
PASSED, FAILED = 0.8, 0.05  # the claim: at least, and at most, of retrained equal models
CLAIM_AT = 50  # test patients of the study
STEP = 0.005  # margins are rounded up to it
Shift = tuple[float, float]  # of the margins of parasitized and of uninfected cells
Measured = dict[str, PairedDifference]


@dataclass(frozen=True)
class Disagreement:
    """How far runs of one recipe lie from their common margins: standard deviations, in logits.

    Of all cells of a class, of a patient's cells of a class, and of each cell.
    """

    run: float
    patient: float
    cell: float

    @property
    def total(self) -> float:
        """What moves a cell, but for the run."""
        return float(np.hypot(self.patient, self.cell))


# More than between two trainings of vgg19_frozen on the pilot (.1, .1 and .5), less than between
# different architectures (.2, .3 and .8), until there is a series of seeds to fit.
ASSUMED = Disagreement(run=0.15, patient=0.2, cell=0.6)


class Population:
    """Patients to draw test splits from, and what the metrics of endlessly many of them are."""

    def __init__(self, cells: pd.DataFrame, disagreement: Disagreement) -> None:
        """`cells` has the columns patient, label and margin."""
        self.disagreement = disagreement
        self._patients = [
            (rows["label"].to_numpy(), rows["margin"].to_numpy())
            for _, rows in cells.groupby("patient")
        ]
        self._margins = {
            label: cells.loc[cells["label"] == label, "margin"].to_numpy() for label in (0, 1)
        }
        distances = np.subtract.outer(self._margins[1], self._margins[0])
        self._pairs, edges = np.histogram(distances, BINS)
        self._distance = (edges[1:] + edges[:-1]) / 2

    def __len__(self) -> int:
        return len(self._patients)

    def truth(self, shift: Shift) -> dict[str, float]:
        """Return each metric of a run whose margins are moved by `shift`."""
        spread = self.disagreement.total
        ordered = norm.cdf((self._distance + shift[0] - shift[1]) / (spread * np.sqrt(2)))
        return {
            "sensitivity": float(norm.cdf((self._margins[1] + shift[0]) / spread).mean()),
            "specificity": float(norm.cdf(-(self._margins[0] + shift[1]) / spread).mean()),
            "roc_auc": float(np.average(ordered, weights=self._pairs)),
        }

    def shift_for(self, metric: str, loss: float) -> Shift:
        """Return the shift that costs so much of a metric."""
        wanted = self.truth((0, 0))[metric] - loss

        def shift(by: float) -> Shift:
            return (0, by) if metric == "specificity" else (-by, 0)

        return shift(brentq(lambda by: self.truth(shift(by))[metric] - wanted, 0, 8))

    def draw(
        self, patients: int, shifts: Sequence[Shift], rng: np.random.Generator
    ) -> list[pd.DataFrame]:
        """Return the predictions of a run of each shift for the same so many patients."""
        drawn = [self._patients[at] for at in rng.integers(len(self), size=patients)]
        label, margin = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        patient = np.repeat(np.arange(patients), [len(labels) for labels, _ in drawn])
        runs = []
        for shift in shifts:
            own = rng.normal(scale=self.disagreement.patient, size=(2, patients))[label, patient]
            cell = rng.normal(scale=self.disagreement.cell, size=len(label))
            moved = margin + np.where(label == 1, *shift) + own + cell
            runs.append(
                pd.DataFrame(
                    {
                        "patient": patient,
                        "label": label,
                        "logit": moved,
                        "probability": expit(moved),
                    }
                )
            )
        return runs


def main(
    cells: Annotated[Path, typer.Option(help="whose patients are drawn")] = ROOT
    / "pilot/reports/predictions.csv",
    series: Annotated[str, typer.Option(help="of `malaria repeat --seeds`: fitted, judged")] = "",
    folder: Annotated[str, typer.Option(help="the pipeline that the series ran")] = "pilot",
    pair: Annotated[
        tuple[Path, Path] | None, typer.Option(help="two predictions.csv: judge them, no more")
    ] = None,
    patients: Annotated[str, typer.Option(help="numbers of test patients")] = "24,50,120,200",
    simulations: Annotated[int, typer.Option(help="of each row")] = 40,
    replicates: Annotated[int, typer.Option(help="of the bootstrap")] = 400,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure bounds, margins and power of the gate, with the margins of params.yaml."""
    params = load(GateParams, ROOT / "params.yaml")
    if pair is not None:
        base, head = (
            read_evaluated(
                Files(path.read_bytes(), path.with_name("metrics.json").read_bytes()), str(path)
            )
            for path in pair
        )
        print(comment(judge(head, {"base": base}, params, ""), folder))
        return
    parts = []
    if series:
        runs = [from_threshold(run) for run in read_series(ROOT, folder, series).values()]
        common = runs[0].assign(margin=np.mean([run["margin"] for run in runs], axis=0))
        population = Population(common, fitted(runs))
        parts.append(real_pairs(runs, series, params))
    else:
        population = Population(one_run(cells), ASSUMED)
    numbers = [int(number) for number in patients.split(",")]
    equal = {number: retrained(population, number, simulations, replicates) for number in numbers}
    disagreement = population.disagreement
    parts += [
        f"{simulations:,} simulations a row, {replicates} resamples each; patients are drawn from "
        f"{len(population)} real ones. Runs differ by standard deviations of "
        f"{disagreement.run:.2f} (run), {disagreement.patient:.2f} (patient) and "
        f"{disagreement.cell:.2f} (cell) logits, "
        f"{f'fitted to the series {series}' if series else 'which are assumed'}.",
        bounds_table(equal, params),
        power_table(population, equal, params, simulations, replicates),
        claim(equal, params),
    ]
    publish(SECTION, "\n\n".join(parts), ["numpy", "pandas", "scipy"], write)


def one_run(path: Path) -> pd.DataFrame:
    """Return the cells of predictions.csv with their margins, from metrics.json beside it."""
    rows = read_predictions(path)
    content = Files(path.read_bytes(), path.with_name("metrics.json").read_bytes())
    threshold = read_evaluated(content, str(path)).threshold
    return rows.assign(margin=rows["logit"] - logit(threshold))


def from_threshold(run: pd.DataFrame) -> pd.DataFrame:
    """Return a run of a series with the margins from its threshold, as `read_series` tells it.

    Sorted by cell; the lowest probability that was called stands for the threshold.
    """
    called = run.loc[run["called"], "probability"]
    threshold = run["probability"].max() + 10**-DIGITS if called.empty else called.min()
    margin = run["logit"] - logit(threshold)
    moved = run.assign(margin=margin, logit=margin, probability=expit(margin))
    return moved.sort_values("cell_id", ignore_index=True)


def fitted(runs: Sequence[pd.DataFrame]) -> Disagreement:
    """Return the disagreement of runs, by moments, over all pairs and both classes.

    Of margins cut at CUT logits: beyond it they are far apart without any consequence.
    """
    parts = []
    for one, other in itertools.combinations(runs, 2):
        moved = other["margin"].clip(-CUT, CUT) - one["margin"].clip(-CUT, CUT)
        for label in (0, 1):
            chosen = one["label"] == label
            by_patient = moved[chosen].groupby(one.loc[chosen, "patient"])
            sizes = by_patient.size()
            cell = (moved[chosen] - by_patient.transform("mean")).pow(2).sum()
            cell /= chosen.sum() - len(sizes)
            many = sizes >= FEW_CELLS
            patient = by_patient.mean()[many].var() - cell * (1 / sizes[many]).mean()
            parts.append((moved[chosen].mean() ** 2, max(patient, 0), cell))
    run, patient, cell = np.sqrt(np.mean(parts, axis=0) / 2)  # two runs make a difference
    return Disagreement(float(run), float(patient), float(cell))


def retrained(
    population: Population, patients: int, simulations: int, replicates: int
) -> list[tuple[Measured, dict[str, float]]]:
    """Return what is measured between two runs of one recipe, and the true differences."""
    found = []
    for number in range(simulations):
        rng = np.random.default_rng([patients, number])
        shifts = [tuple(rng.normal(scale=population.disagreement.run, size=2)) for _ in range(2)]
        base, head = (population.truth(shift) for shift in shifts)
        truth = {metric: head[metric] - base[metric] for metric in PAIRED}
        found.append((_measure(population.draw(patients, shifts, rng), replicates, number), truth))
    return found


def worse(
    population: Population, patients: int, shift: Shift, simulations: int, replicates: int
) -> list[Measured]:
    """Return what is measured between a model and one that is worse by `shift`."""
    return [
        _measure(
            population.draw(patients, [(0, 0), shift], np.random.default_rng([patients, number])),
            replicates,
            number,
        )
        for number in range(simulations)
    ]


def verdict_on(measured: Measured, params: GateParams) -> Verdict:
    """Return the gate's verdict on one comparison."""
    corrected = holm({metric: measured[metric].p_loss() for metric in params.metrics})
    return overall(
        judge_metric(measured[metric], rule, corrected[metric], params.level).verdict
        for metric, rule in params.metrics.items()
    )


def margins_for(measured: Sequence[Measured], params: GateParams) -> dict[str, float]:
    """Return the smallest margins at which PASSED of the comparisons pass and FAILED fail at most.

    They are the same quantile of each metric's bound; the highest bounds where none is enough.
    """
    # Where nothing can be said, no margin is enough.
    bounds = pd.DataFrame(
        [{metric: one[metric].at_least(params.level) for metric in PAIRED} for one in measured]
    ).fillna(-1.0)
    losses = pd.DataFrame(
        [holm({metric: one[metric].p_loss() for metric in PAIRED}) for one in measured]
    )
    for quantile in np.linspace(PASSED, 1, 101):
        margins = (-bounds).quantile(quantile, interpolation="higher").clip(1e-6, 0.999)
        beyond = bounds < -margins
        failed = (beyond & (losses < 1 - params.level)).any(axis=1)
        if (~beyond).all(axis=1).mean() >= PASSED and failed.mean() <= FAILED:
            break
    return dict(margins.to_dict())


def with_margins(params: GateParams, margins: dict[str, float]) -> GateParams:
    """Return the params with other margins."""
    rules = {
        metric: rule.model_copy(update={"margin": margins[metric]})
        for metric, rule in params.metrics.items()
    }
    return params.model_copy(update={"metrics": rules})


def bounds_table(
    equal: dict[int, list[tuple[Measured, dict[str, float]]]], params: GateParams
) -> str:
    """Return how often the one-sided bound holds, and the margins that equal models need."""
    rows = []
    for patients, found in equal.items():
        needed = margins_for([measured for measured, _ in found], params)
        for metric in PAIRED:
            known = [(one[metric], truth[metric]) for one, truth in found if not one[metric].reason]
            held = np.mean([one.at_least(params.level) <= truth for one, truth in known])
            margin = np.ceil(needed[metric] / STEP) * STEP
            effective = np.median([one.patients for one, _ in known])
            rows.append([patients, metric, f"{effective:.0f}", f"{held:.3f}", f"{margin:.3f}"])
    header = ["test patients", "metric", "effective", "bound holds", "margin needed"]
    return (
        f"Two runs of one recipe: how often the one-sided {params.level:.0%} bound of the "
        f"difference lies below the truth, and the smallest margins with which {PASSED:.0%} pass "
        f"and at most {FAILED:.0%} fail.\n\n" + table(header, rows)
    )


def power_table(
    population: Population,
    equal: dict[int, list[tuple[Measured, dict[str, float]]]],
    params: GateParams,
    simulations: int,
    replicates: int,
) -> str:
    """Return the verdicts on equal and on worse models, with the margins of params.yaml."""
    rows = []
    for patients, found in equal.items():
        rows.append([patients, "none", *_shares([measured for measured, _ in found], params)])
        for metric, loss in itertools.product(PAIRED, LOSSES):
            shift = population.shift_for(metric, loss)
            measured = worse(population, patients, shift, simulations, replicates)
            rows.append([patients, f"{metric} {100 * loss:g}", *_shares(measured, params)])
            print(rows[-1], file=sys.stderr, flush=True)
    margins = ", ".join(f"{metric} {rule.margin:g}" for metric, rule in params.metrics.items())
    header = ["test patients", "true loss, points", *(verdict.upper() for verdict in Verdict)]
    return f"Verdicts at the margins of params.yaml ({margins}).\n\n{table(header, rows)}"


def claim(equal: dict[int, list[tuple[Measured, dict[str, float]]]], params: GateParams) -> str:
    """Return whether equal models pass and fail as often as claimed; nothing if not simulated."""
    if CLAIM_AT not in equal:
        return f"No row has {CLAIM_AT} patients, for which the claim is made."
    verdicts = [verdict_on(measured, params) for measured, _ in equal[CLAIM_AT]]
    passed, failed = (
        verdicts.count(verdict) / len(verdicts) for verdict in (Verdict.PASS, Verdict.FAIL)
    )
    holds = passed >= PASSED and failed <= FAILED
    return (
        f"Retrained equal models, {CLAIM_AT} patients: {passed:.3f} pass (claim: at least "
        f"{PASSED}), {failed:.3f} fail (claim: at most {FAILED}); "
        f"{'holds' if holds else 'does not hold'}."
    )


def real_pairs(runs: Sequence[pd.DataFrame], series: str, params: GateParams) -> str:
    """Return the verdicts on all ordered pairs of a series, on its own test patients."""
    measured = [
        _measure([base, head], params.replicates, params.seed)
        for base, head in itertools.permutations(runs, 2)
    ]
    rows = [
        [
            metric,
            f"{np.std([one[metric].difference for one in measured]):.4f}",
            f"{np.mean([one[metric].error for one in measured]):.4f}",
        ]
        for metric in PAIRED
    ]
    shares = ", ".join(
        f"{verdict.upper()} {share}"
        for verdict, share in zip(Verdict, _shares(measured, params), strict=True)
    )
    return (
        f"The {len(measured)} ordered pairs of the {len(runs)} runs of `{series}`, on "
        f"{runs[0]['patient'].nunique()} test patients: {shares}.\n\n"
        + table(["metric", "sd of the differences", "mean standard error"], rows)
    )


def _measure(pair: Sequence[pd.DataFrame], replicates: int, seed: int) -> Measured:
    base, head = pair
    return paired_differences(base, head, (THRESHOLD, THRESHOLD), replicates, seed)


def _shares(measured: Sequence[Measured], params: GateParams) -> list[str]:
    verdicts = [verdict_on(one, params) for one in measured]
    return [f"{verdicts.count(verdict) / len(verdicts):.3f}" for verdict in Verdict]


if __name__ == "__main__":
    typer.run(main)
