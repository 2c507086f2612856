"""How often the gate passes equal models and stops worse ones, by the number of test patients."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.gate_population import (
    Disagreement,
    Population,
    draw_patients,
    fitted,
    read_runs,
)
from benchmarks.gate_runs import RUNS
from benchmarks.gate_simulate import (
    BALANCED,
    Compared,
    behind_accepted,
    compare,
    margins_for,
    retrained,
    smallest_caught,
    values_of,
    verdict_on,
    worse,
)
from benchmarks.report import publish, table
from malaria.core.params import load
from malaria.gate.params import CAN_BE_GATED, GateParams
from malaria.gate.verdict import Verdict

ROOT = Path(__file__).resolve().parents[1]
SECTION = "gate"
LOSSES = (0.01, 0.02, 0.04)
PASSED, FAILED = 0.8, 0.05  # the claim: at least, and at most, of retrained equal models
CAUGHT = 0.8  # how often the smallest losses of the last table fail
ACCEPTED = (5, 10)  # earlier results on the same test cells
STEP = 0.005  # margins are rounded up to it
Equal = list[tuple[Compared, dict[str, float]]]


def main(
    runs_file: Annotated[Path, typer.Option("--runs", help="written by gate_runs.py")] = RUNS,
    equal_runs: Annotated[str, typer.Option("--equal", help="whose seeds are alike")] = "vgg",
    params_file: Annotated[Path, typer.Option("--params", help="whose margins")] = ROOT
    / "params.yaml",
    patients: Annotated[str, typer.Option(help="numbers of test patients")] = "20,50,120",
    claim_at: Annotated[int, typer.Option(help="of these, the one of the claim")] = 50,
    simulations: Annotated[int, typer.Option(help="of each row")] = 40,
    replicates: Annotated[int, typer.Option(help="of the bootstrap")] = 400,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure bounds, margins and power of the gate, with the margins of a params.yaml."""
    params = load(GateParams, params_file)
    runs = read_runs(runs_file)
    alike = {name: run for name, run in runs.items() if name.startswith(f"{equal_runs}-seed")}
    if len(alike) < 2:
        sys.exit(f"gate: {runs_file} has fewer than two runs {equal_runs}-seed...; see --equal")
    common = next(iter(alike.values()))
    common = common.assign(margin=np.mean([run["margin"] for run in alike.values()], axis=0))
    population = Population(common, fitted(list(alike.values())))
    numbers = [int(number) for number in patients.split(",")]
    equal = {
        number: retrained(population, number, simulations, replicates, params) for number in numbers
    }
    publish(
        SECTION,
        "\n\n".join(
            [
                pairs_table(list(alike.values()), params),
                runs_table(runs, alike, equal_runs, numbers, params, simulations, replicates),
                f"From here on simulated, {simulations:,} times a row with {replicates} resamples: "
                f"patients are drawn from the {len(population)}, and runs disagree as the "
                f"{len(alike)} do. Standard deviations of a run's, a patient's, a cell's logits: "
                f"{_described(population.disagreements[1])} (parasitized), "
                f"{_described(population.disagreements[0])} (uninfected).",
                bounds_table(equal, params),
                power_table(population, equal, params, simulations, replicates),
                caught_table(population, claim_at, params, simulations, replicates),
                accepted_table(population, numbers, params, simulations),
                *([claim(equal[claim_at], claim_at, params)] if claim_at in equal else []),
            ]
        ),
        ["numpy", "pandas", "scipy"],
        write,
    )


def pairs_table(alike: Sequence[pd.DataFrame], params: GateParams) -> str:
    """Return the verdicts on all ordered pairs of equal runs, on their own test patients."""
    measured = [
        compare([base, head], params.replicates, params.seed, params)
        for base, head in itertools.permutations(alike, 2)
    ]
    rows = [
        [
            metric,
            f"{np.mean([one.metrics[metric].base for one in measured]):.3f}",
            f"{np.std([one.metrics[metric].difference for one in measured]):.4f}",
            f"{np.mean([one.metrics[metric].error for one in measured]):.4f}",
        ]
        for metric in CAN_BE_GATED
    ]
    shares = ", ".join(
        f"{verdict.upper()} {share}"
        for verdict, share in zip(Verdict, _shares(measured, params), strict=True)
    )
    header = ["metric", "mean", "sd of the differences", "mean standard error by patients"]
    return (
        f"{len(alike)} real trainings of one recipe that differ in their seed, "
        f"{len(measured)} ordered pairs on {alike[0]['patient'].nunique()} real test patients: "
        f"{shares}.\n\n" + table(header, rows)
    )


def runs_table(
    runs: dict[str, pd.DataFrame],
    alike: dict[str, pd.DataFrame],
    equal: str,
    numbers: Sequence[int],
    params: GateParams,
    simulations: int,
    replicates: int,
) -> str:
    """Return how often real runs pass and fail against the equal ones, on patients drawn anew."""
    means = {
        metric: np.mean([values_of(run)[metric] for run in alike.values()])
        for metric in CAN_BE_GATED
    }
    rows: list[list[object]] = []
    for name in [equal, *sorted(one for one in runs if "-seed" not in one)]:
        heads = list(alike) if name == equal else [name]
        losses = [
            np.mean([means[metric] - values_of(runs[head])[metric] for head in heads])
            for metric in CAN_BE_GATED
        ]
        row: list[object] = [name, *(f"{round(100 * loss, 1) + 0:.1f}" for loss in losses)]
        for number in numbers:
            rng = np.random.default_rng(number)
            measured = []
            for seed in range(simulations):
                head = heads[rng.integers(len(heads))]
                base = rng.choice([one for one in alike if one != head])
                drawn = draw_patients([alike[base], runs[head]], number, rng)
                measured.append(compare(drawn, replicates, seed, params))
            row += _shares(measured, params)[:2]
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    header = ["run", *(f"{metric}, points lost" for metric in CAN_BE_GATED)]
    header += [f"{number}: {verdict}" for number in numbers for verdict in ("PASS", "FAIL")]
    return (
        f"The same and the spoilt runs against an equal one, on that many patients drawn from the "
        f"real ones ({simulations} draws, {replicates} resamples; the rest is INCONCLUSIVE):\n\n"
        + table(header, sorted(rows, key=lambda row: (row[0] != equal, str(row[0]))))
    )


def bounds_table(equal: dict[int, Equal], params: GateParams) -> str:
    """Return how often the one-sided bound holds, and the margins that equal models need."""
    rows = []
    for patients, found in equal.items():
        needed = margins_for([one for one, _ in found], params, PASSED, FAILED)
        for metric in CAN_BE_GATED:
            known = [
                (one.metrics[metric], truth[metric])
                for one, truth in found
                if not one.metrics[metric].reason
            ]
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
    equal: dict[int, Equal],
    params: GateParams,
    simulations: int,
    replicates: int,
) -> str:
    """Return the verdicts on equal and on worse models, with the margins of the params."""
    rows = []
    for patients, found in equal.items():
        rows.append([patients, "none", *_shares([measured for measured, _ in found], params)])
        for metric, loss in itertools.product(CAN_BE_GATED, LOSSES):
            shift = population.shift_for(metric, loss)
            measured = worse(population, patients, shift, simulations, replicates, params)
            rows.append([patients, f"{metric} {100 * loss:g}", *_shares(measured, params)])
            print(rows[-1], file=sys.stderr, flush=True)
    margins = ", ".join(f"{metric} {rule.margin:g}" for metric, rule in params.metrics.items())
    header = ["test patients", "true loss, points", *(verdict.upper() for verdict in Verdict)]
    return f"Verdicts at the margins {margins}.\n\n{table(header, rows)}"


def caught_table(
    population: Population, patients: int, params: GateParams, simulations: int, replicates: int
) -> str:
    """Return the smallest true losses that fail CAUGHT of the time, in cells per thousand."""
    of = {"sensitivity": "parasitized", "specificity": "uninfected", BALANCED: "each class"}
    rows = []
    for metric, cells in of.items():
        loss = smallest_caught(
            population, patients, metric, CAUGHT, simulations, replicates, params
        )
        rows.append([metric, cells, round(1000 * loss)])
        print(rows[-1], file=sys.stderr, flush=True)
    return (
        f"With {patients} test patients, the smallest true loss that FAILs {CAUGHT:.0%} of the "
        "time:\n\n" + table(["metric", "of 1,000 cells that are", "more called wrong"], rows)
    )


def accepted_table(
    population: Population, numbers: Sequence[int], params: GateParams, simulations: int
) -> str:
    """Return how often equal retrainings fail against the reference, by the accepted results."""
    rows = [
        [
            patients,
            *(
                f"{behind_accepted(population, patients, count, simulations, params):.3f}"
                for count in ACCEPTED
            ),
        ]
        for patients in numbers
    ]
    return (
        "How often a retraining of an equal model FAILs against the reference alone, where equal "
        "results on the same test cells were accepted before:\n\n"
        + table(["test patients", *(f"{count} accepted" for count in ACCEPTED)], rows)
    )


def claim(equal: Equal, patients: int, params: GateParams) -> str:
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


def _described(disagreement: Disagreement) -> str:
    return ", ".join(f"{part:.2f}" for part in disagreement)


def _shares(measured: Sequence[Compared], params: GateParams) -> list[str]:
    verdicts = [verdict_on(one, params) for one in measured]
    return [f"{verdicts.count(verdict) / len(verdicts):.3f}" for verdict in Verdict]


if __name__ == "__main__":
    typer.run(main)
