"""How often 95 % intervals hold the truth, where the cells of a patient are alike."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.report import publish, table
from malaria.evaluation.bootstrap import Resampled, draw_weights, patients_of
from malaria.evaluation.intervals import LEVEL, interval_table

SECTION = "coverage"
THRESHOLD = 0.5
# Logits of either class lie this far from 0; a patient moves each class by a draw of its own.
MEAN, PATIENT_SD, CELL_SD = 2.5, 0.8, 1.2
EQUAL = (70, 70)  # parasitized and uninfected cells of each patient
PATIENTS = (24, 60, 120)
METRICS = ("sensitivity", "specificity", "roc_auc")
WAYS = ("percentile, patients", "t, patients (reported)", "t, cells")
CLAIM = (0.92, 0.97)
CLAIM_AT = ("equal", 60)
Counts = Callable[[np.random.Generator, int], np.ndarray]


def main(
    cells: Annotated[Path, typer.Option(help="whose counts are taken")] = Path(
        "pilot/reports/predictions.csv"
    ),
    simulations: Annotated[int, typer.Option(help="of each row")] = 200,
    replicates: Annotated[int, typer.Option(help="of the bootstrap")] = 200,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure the coverage of the patient interval, the percentile's and the cell-wise one."""
    counts = pd.read_csv(cells).groupby("patient")["label"].agg(["sum", "size"])
    real = np.stack([counts["sum"], counts["size"] - counts["sum"]], axis=1)
    kinds: dict[str, Counts] = {
        "real": lambda rng, patients: real[rng.integers(len(real), size=patients)],
        "equal": lambda rng, patients: np.tile(EQUAL, (patients, 1)),
    }
    rows, held = [], {}
    for kind, draw_counts in kinds.items():
        for patients in PATIENTS:
            found = coverage(draw_counts, patients, simulations, replicates)
            held[kind, patients] = found
            for metric in METRICS:
                rows.append([kind, patients, metric, *(f"{found[w, metric]:.3f}" for w in WAYS)])
            print(rows[-len(METRICS) :], file=sys.stderr, flush=True)
    claimed = [held[CLAIM_AT][WAYS[1], metric] for metric in METRICS]
    holds = all(CLAIM[0] <= value <= CLAIM[1] for value in claimed)
    body = "\n\n".join(
        [
            f"{simulations:,} simulations a row, {replicates} resamples each, level {LEVEL:g}; the "
            f"real counts are drawn from those of {len(real)} patients.",
            table(["counts", "patients", "metric", *WAYS], rows),
            f"{CLAIM_AT[0].capitalize()} counts, {CLAIM_AT[1]} patients: "
            f"{min(claimed):.3f} to {max(claimed):.3f} (claim: {CLAIM[0]} to {CLAIM[1]}, "
            f"{'holds' if holds else 'does not hold'}).",
        ]
    )
    publish(SECTION, body, ["numpy", "pandas", "scipy"], write)


def coverage(
    draw_counts: Counts, patients: int, simulations: int, replicates: int
) -> dict[tuple[str, str], float]:
    """Return the share of simulations whose interval holds the truth, by way and metric."""
    truth = true_values()
    held = {(way, metric): 0 for way in WAYS for metric in METRICS}
    for number in range(simulations):
        rng = np.random.default_rng([patients, number])
        predictions = simulate(draw_counts(rng, patients), rng)
        rows = interval_table(predictions, THRESHOLD, replicates, number).set_index("metric")
        percentile = percentiles(predictions, replicates, number)
        for metric in METRICS:
            row = rows.loc[metric]
            intervals = (
                percentile[metric],
                (row["low"], row["high"]),
                (row["cell_low"], row["cell_high"]),
            )
            for way, (low, high) in zip(WAYS, intervals, strict=True):
                held[way, metric] += bool(low <= truth[metric] <= high)
    return {key: count / simulations for key, count in held.items()}


def simulate(counts: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return the cells of patients with these counts (P, 2) of parasitized and uninfected ones."""
    parts = []
    for label, column in ((1, 0), (0, 1)):
        patient = np.repeat(np.arange(len(counts)), counts[:, column])
        own = rng.normal(scale=PATIENT_SD, size=len(counts))[patient]
        sign = 2 * label - 1
        logit = sign * MEAN + own + rng.normal(scale=CELL_SD, size=len(patient))
        parts.append(pd.DataFrame({"patient": patient.astype(str), "label": label, "logit": logit}))
    cells = pd.concat(parts, ignore_index=True)
    return cells.assign(probability=1 / (1 + np.exp(-cells["logit"])))


def true_values() -> dict[str, float]:
    """Return what the metrics tend to with the number of patients, in closed form."""
    spread = np.hypot(PATIENT_SD, CELL_SD)
    rate = float(norm.cdf(MEAN / spread))
    return {
        "sensitivity": rate,
        "specificity": rate,
        "roc_auc": float(norm.cdf(2 * MEAN / (spread * np.sqrt(2)))),
    }


def percentiles(
    predictions: pd.DataFrame, replicates: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Return the plain percentile intervals of the bootstrap by patient."""
    units = patients_of(predictions)
    resampled = Resampled(predictions, THRESHOLD, units)
    parts = [resampled.metrics(weights) for weights in draw_weights(units, replicates, seed)]
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {
        metric: tuple(np.nanquantile(np.concatenate([part[metric] for part in parts]), tails))
        for metric in METRICS
    }


if __name__ == "__main__":
    typer.run(main)
