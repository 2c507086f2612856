"""Runs of one recipe on real patients, and how they disagree: test splits to draw from."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from malaria.evaluation.intervals import effective_units

KEY = ["cell_id", "patient", "label"]
NEAR = 3.0  # logits; farther from the threshold hardly any cell changes its call
BINS = 2000  # of the distances between parasitized and uninfected cells
FEW_CELLS = 5  # of a patient, too few to tell what the patient itself adds
Shift = tuple[float, float]  # of the margins of parasitized and of uninfected cells


class Disagreement(NamedTuple):
    """How far runs of one recipe lie from their common margins: standard deviations, in logits.

    Of all cells of a class, of a patient's cells of a class, and of each cell.
    """

    run: float
    patient: float
    cell: float


Disagreements = dict[int, Disagreement]  # of uninfected (0) and of parasitized (1) cells


def read_runs(path: Path) -> dict[str, pd.DataFrame]:
    """Return the test cells of each run by its name, as `benchmarks/gate_runs.py` wrote them.

    Columns patient, label, margin (logit less that of the run's own threshold), and logit and
    probability as of a run whose threshold is .5.
    """
    table = pd.read_csv(path, dtype={"cell_id": "string", "patient": "string"})
    return {name: from_margin(table[KEY], table[name]) for name in table.columns.drop(KEY)}


def from_margin(cells: pd.DataFrame, margin: pd.Series) -> pd.DataFrame:
    """Return the predictions of a run from its margins."""
    return cells.assign(margin=margin, logit=margin, probability=expit(margin))


def draw_patients(
    runs: Sequence[pd.DataFrame], patients: int, rng: np.random.Generator
) -> list[pd.DataFrame]:
    """Return what several runs say of the same so many patients, drawn with replacement.

    A patient that is drawn twice counts as two.
    """
    rows = list(runs[0].groupby("patient").indices.values())
    drawn = [rows[at] for at in rng.integers(len(rows), size=patients)]
    patient = np.repeat(np.arange(patients), [len(one) for one in drawn])
    chosen = np.concatenate(drawn)
    return [run.iloc[chosen].assign(patient=patient).reset_index(drop=True) for run in runs]


class Population:
    """Patients to draw test splits from, and the limits of their metrics."""

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
