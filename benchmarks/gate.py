"""How often the gate passes equal models and stops worse ones, by the number of test patients."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import typer
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.report import publish, table
from malaria.evaluated import Files, read_evaluated
from malaria.gate import judge
from malaria.gate_comment import comment
from malaria.intervals import effective_units
from malaria.metrics import DIGITS, read_predictions
from malaria.paired import PAIRED, PairedDifference, paired_differences
from malaria.params.base import load
from malaria.params.gate import GateParams
from malaria.repeats import read_series
from malaria.verdict import Verdict, holm, judge_metric, overall

ROOT = Path(__file__).resolve().parents[1]
SECTION = "gate"
THRESHOLD = 0.5  # margins are logits less the run's own threshold, so it is that of all runs
NEAR = 3.0  # logits; farther from the threshold hardly any cell changes its call
BINS = 2000  # of the distances between parasitized and uninfected cells
FEW_CELLS = 5  # of a patient, too few to tell what the patient itself adds
LOSSES = (0.01, 0.02, 0.04)
PASSED, FAILED = 0.8, 0.05  # the claim: at least, and at most, of retrained equal models
STEP = 0.005  # margins are rounded up to it
Shift = tuple[float, float]  # of the margins of parasitized and of uninfected cells
Measured = dict[str, PairedDifference]


class Disagreement(NamedTuple):
    """How far runs of one recipe lie from their common margins: standard deviations, in logits.

    Of all cells of a class, of a patient's cells of a class, and of each cell.
    """

    run: float
    patient: float
    cell: float


Disagreements = dict[int, Disagreement]  # of uninfected (0) and of parasitized (1) cells
# As fitted to two trainings of vgg19_frozen on the pilot, but for half of the run's part, as their
# code differed too; until there is a series of seeds.
ASSUMED = {0: Disagreement(0.2, 0.3, 0.8), 1: Disagreement(0.15, 0.1, 0.8)}


class Population:
    """Patients to draw test splits from, and what the metrics of endlessly many of them are."""

    def __init__(self, cells: pd.DataFrame, disagreements: Disagreements) -> None:
        """`cells` has the columns patient, label and margin."""
        self.disagreements = disagreements
        self._spread = {
            label: float(np.hypot(of.patient, of.cell)) for label, of in disagreements.items()
        }
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
        spread = self._spread
        ordered = norm.cdf((self._distance + shift[0] - shift[1]) / np.hypot(spread[0], spread[1]))
        return {
            "sensitivity": float(norm.cdf((self._margins[1] + shift[0]) / spread[1]).mean()),
            "specificity": float(norm.cdf(-(self._margins[0] + shift[1]) / spread[0]).mean()),
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
        scales = np.array([self.disagreements[0], self.disagreements[1]])
        runs = []
        for shift in shifts:
            own = rng.normal(size=(2, patients))[label, patient] * scales[label, 1]
            cell = rng.normal(size=len(label)) * scales[label, 2]
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
    params_file: Annotated[Path, typer.Option("--params", help="whose margins")] = ROOT
    / "params.yaml",
    patients: Annotated[str, typer.Option(help="numbers of test patients")] = "24,50,120,200",
    claim_at: Annotated[int, typer.Option(help="of these, the one of the claim")] = 50,
    simulations: Annotated[int, typer.Option(help="of each row")] = 40,
    replicates: Annotated[int, typer.Option(help="of the bootstrap")] = 400,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure bounds, margins and power of the gate, with the margins of a params.yaml."""
    params = load(GateParams, params_file)
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
    parts += [
        f"{simulations:,} simulations a row, {replicates} resamples each; patients are drawn from "
        f"{len(population)} real ones. Standard deviations of a run, a patient's and a cell's "
        f"logits, {f'fitted to the series {series}' if series else 'assumed'}: "
        f"{_described(population.disagreements[1])} (parasitized), "
        f"{_described(population.disagreements[0])} (uninfected).",
        bounds_table(equal, params),
        power_table(population, equal, params, simulations, replicates),
        *([claim(equal[claim_at], claim_at, params)] if claim_at in equal else []),
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


def fitted(runs: Sequence[pd.DataFrame]) -> Disagreements:
    """Return the disagreement of runs, over all pairs.

    Its size is that with which as many cells are called differently as are: given the mean m of
    two runs' margins, these differ in sign with probability 2 Phi(-sqrt(2) |m| / size). Its
    parts share it as the variances do, by moments, of cells NEAR the threshold.
    """
    pairs = list(itertools.combinations(runs, 2))
    found = {}
    for label in (0, 1):
        parts, middles, differ = [], [], []
        for one, other in pairs:
            chosen = one["label"] == label
            before, after = one.loc[chosen, "margin"], other.loc[chosen, "margin"]
            middles.append(np.abs(before + after) / 2)
            differ.append((before >= 0) != (after >= 0))
            near = middles[-1] <= NEAR
            parts.append(_variances((after - before)[near], one.loc[chosen, "patient"][near]))
        share, distance = float(np.mean(differ)), np.concatenate(middles)
        size = _size(distance, share)
        variances = np.mean(parts, axis=0).clip(min=0)
        found[label] = Disagreement(*(size * np.sqrt(variances / variances.sum())).tolist())
    return found


def _size(distance: np.ndarray, share: float) -> float:
    """Return the standard deviation at which such a share of the cells is called differently."""

    def differing(size: float) -> float:
        return float(2 * norm.cdf(-np.sqrt(2) * distance / size).mean())

    return float(brentq(lambda size: differing(size) - share, 1e-3, 100))


def _variances(moved: pd.Series, patient: pd.Series) -> tuple[float, float, float]:
    """Return what the run, the patient and the cell add to the variance of a difference."""
    by_patient = moved.groupby(patient)
    sizes = by_patient.size()
    cell = (moved - by_patient.transform("mean")).pow(2).sum() / (len(moved) - len(sizes))
    many = sizes >= FEW_CELLS
    own = max(by_patient.mean()[many].var() - cell * (1 / sizes[many]).mean(), 0)
    by_chance = own / effective_units(sizes.to_numpy()) + cell / len(moved)
    return moved.mean() ** 2 - by_chance, own, cell


def retrained(
    population: Population, patients: int, simulations: int, replicates: int
) -> list[tuple[Measured, dict[str, float]]]:
    """Return what is measured between two runs of one recipe, and the true differences."""
    found = []
    for number in range(simulations):
        rng = np.random.default_rng([patients, number])
        scale = [population.disagreements[label].run for label in (1, 0)]
        shifts = [tuple(rng.normal(scale=scale)) for _ in range(2)]
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
    """Return the verdicts on equal and on worse models, with the margins of the params."""
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
    return f"Verdicts at the margins {margins}.\n\n{table(header, rows)}"


def claim(
    equal: Sequence[tuple[Measured, dict[str, float]]], patients: int, params: GateParams
) -> str:
    """Return whether equal models pass and fail as often as claimed."""
    verdicts = [verdict_on(measured, params) for measured, _ in equal]
    passed, failed = (
        verdicts.count(verdict) / len(verdicts) for verdict in (Verdict.PASS, Verdict.FAIL)
    )
    holds = passed >= PASSED and failed <= FAILED
    return (
        f"Retrained equal models, {patients} patients: {passed:.3f} pass (claim: at least "
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


def _described(disagreement: Disagreement) -> str:
    return ", ".join(f"{part:.2f}" for part in disagreement)


def _measure(pair: Sequence[pd.DataFrame], replicates: int, seed: int) -> Measured:
    base, head = pair
    return paired_differences(base, head, (THRESHOLD, THRESHOLD), replicates, seed)


def _shares(measured: Sequence[Measured], params: GateParams) -> list[str]:
    verdicts = [verdict_on(one, params) for one in measured]
    return [f"{verdicts.count(verdict) / len(verdicts):.3f}" for verdict in Verdict]


if __name__ == "__main__":
    typer.run(main)
