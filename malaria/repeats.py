"""The same recipe several times: k folds of the patients, or several seeds.

Each run is a DVC experiment of its own, so a series that was stopped goes on where it was.
"""

import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from malaria.errors import MalariaError
from malaria.experiments import file_at, list_experiments
from malaria.metrics import PREDICTION_COLUMNS, read_predictions
from malaria.params.base import read_yaml
from malaria.params.study import REPO, check_study
from malaria.pipeline import LOCK, identity, identity_of_lock

SERIES = "series"  # of a pipeline's folder: a summary a file
SPLIT = "test"  # what a run of a series is judged by
COUNTS = ("n_cells", "n_patients")


@dataclass(frozen=True)
class Repeat:
    """One run of a series: its DVC experiment's name, and its params as KEY=VALUE."""

    experiment: str
    settings: tuple[str, ...]


def folds_of(name: str, folds: int, settings: Sequence[str]) -> list[Repeat]:
    """Return a run for each of k folds, with the same other settings."""
    return [
        Repeat(f"{name}-fold{fold}", (*settings, f"split.folds={folds}", f"split.fold={fold}"))
        for fold in range(1, folds + 1)
    ]


def seeds_of(name: str, seeds: Sequence[int], settings: Sequence[str]) -> list[Repeat]:
    """Return a run for each seed of the training, with the same other settings."""
    return [Repeat(f"{name}-seed{seed}", (*settings, f"train.seed={seed}")) for seed in seeds]


def run_series(root: Path, folder: str, series: Sequence[Repeat]) -> Iterator[str]:
    """Run each as a temporary DVC experiment, unless it has run; give what happens.

    `folder` is the pipeline's, relative to the repository. All params are checked before the
    first run. Raises MalariaError for an experiment of the same name with other params or code,
    and where DVC fails.
    """
    waiting = [repeat for repeat in series if not _has_run(root, folder, repeat)]
    yield f"{len(series) - len(waiting)} of {len(series)} have run already"
    for repeat in waiting:
        yield f"{repeat.experiment} starts"
        changes = [f"--set-param={folder}/params.yaml:{setting}" for setting in repeat.settings]
        run = [sys.executable, "-m", "dvc", "exp", "run", "--temp", f"{folder}/dvc.yaml"]
        done = subprocess.run(
            [*run, f"--name={repeat.experiment}", *changes], cwd=root, check=False
        )
        if done.returncode:
            raise MalariaError(
                f"the DVC experiment {repeat.experiment} failed, as told above; the same command "
                "goes on with it, and what has finished is kept."
            )


def read_series(root: Path, folder: str, name: str) -> dict[str, pd.DataFrame]:
    """Return the test predictions of each finished run of a series, by experiment.

    As `read_runs` does. Raises MalariaError where no experiment has such a name.
    """
    return read_runs(root, folder, _finished(root, name))


def read_runs(root: Path, folder: str, commits: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return the test predictions of experiments; `commits` has the commit of each by its name.

    They have, beside the file's columns, `called`: whether the cell was called parasitized at
    the run's own threshold.
    """
    found = {}
    for experiment, commit in commits.items():
        content = file_at(root, commit, f"{folder}/reports/predictions.csv")
        predictions = read_predictions(io.BytesIO(content))
        threshold = _metrics(root, commit, folder)["threshold"]
        tested = predictions[predictions["split"] == SPLIT][PREDICTION_COLUMNS]
        found[experiment] = tested.assign(called=tested["probability"] >= threshold)
    return found


def summarise(root: Path, folder: str, name: str) -> pd.DataFrame:
    """Return the test metrics of each finished run of a series, then their mean and sd.

    The sd is the spread of the runs; as folds share their training cells it is no standard error
    of the mean (Bengio and Grandvalet 2004, No Unbiased Estimator of the Variance of K-Fold
    Cross-Validation).
    """
    table = pd.DataFrame(
        {
            experiment: _metrics(root, commit, folder)
            for experiment, commit in _finished(root, name).items()
        }
    ).T
    values = table.drop(columns=list(COUNTS))
    summary = pd.DataFrame({"mean": values.mean(), "sd": values.std(ddof=1)}).T
    whole = pd.concat([table, summary]).rename_axis("experiment").reset_index()
    return whole.astype(dict.fromkeys(COUNTS, "Int64"))


def _finished(root: Path, name: str) -> dict[str, str]:
    """Return the commit of each run of a series by experiment, in the order of their numbers."""
    known = list_experiments(root)
    numbers = {
        member: int(match[1])
        for member in known
        if (match := re.fullmatch(rf"{re.escape(name)}-(?:fold|seed)(\d+)", member))
    }
    if not numbers:
        raise MalariaError(
            f"no DVC experiment belongs to a series {name!r}; `uv run malaria repeat` makes one."
        )
    return {member: known[member] for member in sorted(numbers, key=numbers.__getitem__)}


def _metrics(root: Path, commit: str, folder: str) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(file_at(root, commit, f"{folder}/reports/metrics.json"))
    return dict(metrics[SPLIT])


def _has_run(root: Path, folder: str, repeat: Repeat) -> bool:
    """Tell whether an experiment of these very params and this code is there."""
    params = _with(read_yaml(root / folder / "params.yaml"), repeat.settings)
    commit = list_experiments(root).get(repeat.experiment)
    if commit is None:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        lock = Path(scratch, LOCK)
        lock.write_bytes(file_at(root, commit, f"{folder}/{LOCK}"))
        if identity_of_lock(lock.parent, params[REPO]) == identity(root / folder, params):
            return True
    raise MalariaError(
        f"the DVC experiment {repeat.experiment} has run with other params or other code; give "
        f"--name another name, or remove it with `uv run dvc exp remove {repeat.experiment}`."
    )


def _with(params: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return the params with each KEY=VALUE set, checked."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        *sections, last = key.split(".")
        inner = params
        try:
            value = YAML(typ="safe", pure=True).load(text)
            for section in sections:
                inner = inner[section]
            if not equals or last not in inner:
                raise KeyError(key)
        except (KeyError, TypeError, YAMLError):
            raise MalariaError(
                f"{setting!r} sets no key of params.yaml; write it as train.epochs=2."
            ) from None
        inner[last] = value
    return check_study(params)
