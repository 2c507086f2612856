"""Trains what the gate's margins rest on, equal and spoilt models, and keeps what they said.

Each is a DVC experiment of the pilot or of the study, run unless it is there; all of them take
hours. What is kept, gate_runs.csv or gate_runs_study.csv, has a row for each test cell and a column
for each run: the logit less that of the run's own threshold.
"""

import hashlib
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy.special import logit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.gate_population import KEY
from malaria.core.files import write_file
from malaria.core.table import read_cells
from malaria.data.corrections import DROP, FLIP
from malaria.evaluation.metrics import choose_threshold
from malaria.paths import CELLS, PREDICTIONS
from malaria.pipeline.stages import place
from malaria.prediction.table import DIGITS, read_predictions
from malaria.studies.experiments import file_at, list_experiments
from malaria.studies.repeats import Repeat, read_runs, run_series, seeds_of

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(__file__).with_name("gate_runs.csv")
Settings = tuple[str, ...]
# What is looked at here are predictions: the stages after them may be short.
SHORT = ("explain.cells=2", "explain.occluded=2", "evaluate.replicates=200")
RULES = ("specificity_0.95", "sensitivity_0.95")  # where the equal runs have youden
NOISE, MISSED = (20, 40), (20,)  # percent
MARGIN_DIGITS = 4


@dataclass(frozen=True)
class Plan:
    """What is trained in a pipeline's folder."""

    equal: Mapping[str, Settings]  # by name; the last one's recipe is also that of the spoilt runs
    seeds: tuple[int, ...]
    runs: Path
    committed: tuple[str, ...] = ()  # runs whose results are those of the folder itself


# On two cores 12 epochs of a small network on all patients take as long as 6 of a VGG19 on 80.
SMALL = (
    "preprocess.size=64",
    "train.model=cnn_se",
    "train.weights=none",
    "train.epochs=12",
    "train.patience=0",
)
PLANS = {
    "pilot": Plan({"vgg": SHORT}, (1, 2, 3, 4), RUNS, ("vgg-seed2018",)),
    ".": Plan(
        {"se": (*SMALL, *SHORT), "mean": (*SMALL, "train.averaging=0.997", *SHORT)},
        (2018, 1, 2, 3, 4),
        RUNS.with_name("gate_runs_study.csv"),
    ),
}


def main(
    folder: Annotated[str, typer.Option(help="pilot, or . for the study")] = "pilot",
) -> None:
    """Train the equal and spoilt models of a folder that have no column yet, one after another."""
    if folder not in PLANS:
        raise typer.BadParameter(f"{folder!r} is not one of {', '.join(PLANS)}")
    plan = PLANS[folder]
    best = list(plan.equal)[-1]
    kept = margins_in(plan.runs)
    for name in plan.committed:
        kept[name] = margin_of(read_runs(ROOT, folder, {name: "HEAD"})[name])
    series = [
        *(run for name, given in plan.equal.items() for run in seeds_of(name, plan.seeds, given)),
        *spoilt(ROOT / folder, plan.equal[best]),
    ]
    for one in series:
        name = one.experiment
        if name in kept:
            continue
        for message in run_series(ROOT, folder, [one]):
            typer.echo(f"gate_runs: {message}", err=True)
        commit = list_experiments(ROOT)[name]
        kept[name] = margin_of(read_runs(ROOT, folder, {name: commit})[name])
        if name.startswith(best) and not any(f"sab-{rule}" in kept for rule in RULES):
            content = file_at(ROOT, commit, place(folder, PREDICTIONS))
            for rule in RULES:
                called = at_threshold(read_predictions(io.BytesIO(content)), rule)
                kept[f"sab-{rule}"] = margin_of(called)
        write_margins(kept, plan.runs)


def at_threshold(predictions: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Return a run's test cells as evaluate.threshold would have them called by another rule."""
    val, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    threshold = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy(), rule)
    return test.assign(called=test["probability"] >= threshold)


def spoilt(folder: Path, recipe: Settings) -> Iterator[Repeat]:
    """Give the runs of models that were spoilt on purpose; label lists are written to data/."""
    cells = read_cells(folder / CELLS)
    lists = folder / "data/spoilt"
    lists.mkdir(parents=True, exist_ok=True)
    yield Repeat("sab-epochs1", (*recipe, "train.epochs=1"))
    for name, (rows, verdict) in spoilt_labels(cells[cells["split"] == "train"]).items():
        path = lists / f"{name}.csv"
        write_file(path, rows[["cell_id", "label"]].assign(verdict=verdict).to_csv(index=False))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        setting = f"split.corrections={{path: {path}, sha256: {sha256}}}"
        yield Repeat(f"sab-{name}", (*recipe, setting))


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


def margins_in(path: Path) -> dict[str, pd.Series]:
    """Return what is kept of each run by its name, {} if nothing is; see `margin_of`."""
    if not path.exists():
        return {}
    table = pd.read_csv(path).set_index(KEY)
    return {name: table[name] for name in table}


def write_margins(margins: dict[str, pd.Series], path: Path) -> None:
    """Write each run's margins beside the cells, which have to be the same in all runs."""
    first = next(iter(margins.values())).sort_index()
    if any(not margin.sort_index().index.equals(first.index) for margin in margins.values()):
        sys.exit(f"gate_runs: {path.name} has runs that were tested on other cells; delete it")
    table = pd.DataFrame({name: margin.sort_index() for name, margin in margins.items()})
    digits = f"%.{MARGIN_DIGITS}f"
    write_file(path, table.to_csv(float_format=digits, lineterminator="\n"))
    typer.echo(f"{path.name}: {len(table)} cells, {len(margins)} runs")


def margin_of(run: pd.DataFrame) -> pd.Series:
    """Return the logits of a run less that of its own threshold by cell, rounded, calls kept.

    The lowest probability that was called stands for the threshold.
    """
    run = run.set_index(KEY)
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
