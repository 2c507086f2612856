"""Trains what the gate's margins rest on, equal and spoilt models, and keeps what they said.

Each is a DVC experiment of the pilot, run unless it is there; all of them take hours. What is
kept, gate_runs.csv, has a row for each test cell and a column for each run: the logit less that of
the run's own threshold.
"""

import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy.special import logit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.gate_population import KEY
from malaria.core.files import write_file
from malaria.core.params import load
from malaria.core.table import read_cells
from malaria.data.corrections import DROP, FLIP
from malaria.evaluation.metrics import choose_threshold
from malaria.paths import PREDICTIONS
from malaria.prediction.table import DIGITS, read_predictions
from malaria.studies.experiments import file_at, list_experiments
from malaria.studies.repeats import Repeat, read_runs, run_series, seeds_of
from malaria.training.params import TrainParams

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(__file__).with_name("gate_runs.csv")
FOLDER = "pilot"
EQUAL, SEEDS = "vgg", range(1, 5)
# What is looked at here are predictions: the stages after them may be short.
SHORT = ("explain.cells=2", "explain.occluded=2", "evaluate.replicates=200")
RULES = ("specificity_0.95", "sensitivity_0.95")  # where the equal runs have youden
NOISE, MISSED = (20, 40), (20,)  # percent
MARGIN_DIGITS = 4


def main(
    train: Annotated[bool, typer.Option(help="run what has not run yet")] = True,
) -> None:
    """Train equal and spoilt models on the pilot's cells; write gate_runs.csv."""
    series = [
        *seeds_of(EQUAL, SEEDS, SHORT),
        *spoilt(read_cells(ROOT / FOLDER / "data/cells.csv"), ROOT / FOLDER / "data/spoilt"),
    ]
    if train:
        for message in run_series(ROOT, FOLDER, series):
            typer.echo(f"gate_runs: {message}", err=True)
    known = list_experiments(ROOT)
    finished = {one.experiment: known[one.experiment] for one in series if one.experiment in known}
    seed = load(TrainParams, ROOT / FOLDER / "params.yaml").seed
    committed = {f"{EQUAL}-seed{seed}": "HEAD"}  # the pilot's own run is one more of the equal ones
    runs = read_runs(ROOT, FOLDER, committed | finished)
    first = next(one for one in finished if one.startswith(EQUAL))
    predictions = file_at(ROOT, finished[first], f"{FOLDER}/{PREDICTIONS}")
    for rule in RULES:
        runs[f"sab-{rule}"] = at_threshold(read_predictions(io.BytesIO(predictions)), rule)
    write_runs(runs, RUNS)


def at_threshold(predictions: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Return a run's test cells as evaluate.threshold would have them called by another rule."""
    val, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    threshold = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy(), rule)
    return test.assign(called=test["probability"] >= threshold)


def spoilt(cells: pd.DataFrame, folder: Path) -> Iterator[Repeat]:
    """Give the runs of models that were spoilt on purpose; label lists are written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    yield Repeat("sab-epochs1", ("train.epochs=1", *SHORT))
    for name, (rows, verdict) in spoilt_labels(cells[cells["split"] == "train"]).items():
        path = folder / f"{name}.csv"
        write_file(path, rows[["cell_id", "label"]].assign(verdict=verdict).to_csv(index=False))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        setting = f"split.corrections={{path: {path}, sha256: {sha256}}}"
        yield Repeat(f"sab-{name}", (setting, *SHORT))


def spoilt_labels(train: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, str]]:
    """Return cells of the train split to be flipped or dropped, by what is wrong with it.

    noise: so many percent of all labels are wrong; missed: so many percent of the parasitized
    cells are called uninfected; nohigh: without the third of the infected patients with the
    highest burden.
    """
    rng = np.random.default_rng(0)
    infected = train[train["label"] == 1]
    any_cell, any_infected = rng.permutation(len(train)), rng.permutation(len(infected))
    burden = infected.groupby("patient").size().sort_values()
    high = burden.index[len(burden) * 2 // 3 :]
    return {
        **{f"noise{share}": (_first(train, any_cell, share), FLIP) for share in NOISE},
        **{f"missed{share}": (_first(infected, any_infected, share), FLIP) for share in MISSED},
        "nohigh": (train[train["patient"].isin(high)], DROP),
    }


def write_runs(runs: dict[str, pd.DataFrame], path: Path) -> None:
    """Write each run's margins beside the cells, which have to be the same in all runs."""
    sorted_runs = {
        name: run.sort_values("cell_id", ignore_index=True) for name, run in runs.items()
    }
    cells = next(iter(sorted_runs.values()))[KEY]
    if any(not cells.equals(run[KEY]) for run in sorted_runs.values()):
        sys.exit("gate_runs: the runs were tested on different cells; remove those of another data")
    margins = {name: margin_of(run) for name, run in sorted_runs.items()}
    table = cells.assign(**margins)
    digits = f"%.{MARGIN_DIGITS}f"
    write_file(path, table.to_csv(index=False, float_format=digits, lineterminator="\n"))
    typer.echo(f"{path.name}: {len(table)} cells, {len(margins)} runs")


def margin_of(run: pd.DataFrame) -> pd.Series:
    """Return the logits of a run less that of its own threshold, rounded, its calls kept.

    The lowest probability that was called stands for the threshold.
    """
    called = run.loc[run["called"], "probability"]
    threshold = run["probability"].max() + 10**-DIGITS if called.empty else called.min()
    margin = (run["logit"] - logit(threshold)).round(MARGIN_DIGITS)
    least = 10**-MARGIN_DIGITS
    return margin.where(~run["called"], margin.clip(lower=0)).where(
        run["called"], margin.clip(upper=-least)
    )


def _first(cells: pd.DataFrame, order: np.ndarray, share: int) -> pd.DataFrame:
    return cells.iloc[np.sort(order[: len(cells) * share // 100])]


if __name__ == "__main__":
    typer.run(main)
