"""The same recipe several times: k folds of the patients, or several seeds.

Each run is a DVC experiment of its own, so an interrupted series resumes where it stopped.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from malaria.core.yaml_files import parse_yaml, read_yaml
from malaria.errors import Interrupted, MalariaError
from malaria.params import check_study
from malaria.paths import LOCK, METRICS, PARAMS, PREDICTIONS, SERIES, dvc
from malaria.pipeline.identity import locked_parts, parts_now
from malaria.pipeline.stages import hashes_in, place, read_stages, up_to
from malaria.prediction.table import PREDICTION_COLUMNS, read_predictions
from malaria.studies.experiments import LAST, file_at, list_experiments

SPLIT = "test"  # the split by which the runs of a series are compared
COUNTS = ("n_cells", "n_patients")


@dataclass(frozen=True)
class Repeat:
    """One run of a series: its DVC experiment's name, and its params as KEY=VALUE."""

    experiment: str
    settings: tuple[str, ...]


def folds_of(name: str, folds: int, settings: Sequence[str]) -> list[Repeat]:
    """Return a run for each of k folds, all with the same other settings."""
    return [
        Repeat(f"{name}-fold{fold}", (*settings, f"split.folds={folds}", f"split.fold={fold}"))
        for fold in range(1, folds + 1)
    ]


def seeds_of(name: str, seeds: Sequence[int], settings: Sequence[str]) -> list[Repeat]:
    """Return a run for each seed of the training, all with the same other settings."""
    return [Repeat(f"{name}-seed{seed}", (*settings, f"train.seed={seed}")) for seed in seeds]


def run_series(root: Path, folder: str, series: Sequence[Repeat]) -> Iterator[str]:
    """Run each up to LAST that has not run yet, as temporary DVC experiments; give messages.

    `folder` is the pipeline's, relative to the repository. All params are checked before the
    first run. Raises MalariaError for an experiment of the same name with other params or code,
    and if DVC fails, and Interrupted at Ctrl-C, once all that was started has ended.
    """
    waiting = [repeat for repeat in series if not _has_run(root, folder, repeat)]
    yield f"{len(series) - len(waiting)} of {len(series)} have run already"
    for number, repeat in enumerate(waiting, start=len(series) - len(waiting)):
        yield f"{repeat.experiment} starts"
        name = f"--name={repeat.experiment}"
        run = [sys.executable, "-P", "-m", "dvc", "exp", "run", "--temp", name]
        changes = [f"--set-param={setting}" for setting in repeat.settings]
        try:
            code = run_to_the_end([*run, *changes, LAST], root / folder)
        except KeyboardInterrupt:
            raise Interrupted(
                f"{number} of {len(series)} runs have finished and are kept, and so are the whole "
                f"epochs of {repeat.experiment}; the same command resumes the series"
            ) from None
        if code:
            raise MalariaError(
                f"the DVC experiment {repeat.experiment} failed, see above; the same command "
                "resumes the series and keeps the runs that have finished."
            )


def run_to_the_end(command: Sequence[str], folder: Path) -> int:
    """Run a program and return its exit code; an interrupt ends it and what it has started.

    It has a process group of its own, because the interrupt may reach only this process. It gets
    the time to close what it does; a second interrupt kills it.
    """
    process = subprocess.Popen(command, cwd=folder, process_group=0, preexec_fn=_listen)
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        raise


def _listen() -> None:
    """Take an interrupt, also below a shell's background process, which does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read_series(root: Path, folder: str, name: str) -> dict[str, pd.DataFrame]:
    """Return the test predictions of each finished run of a series, as `read_runs` does.

    Raises MalariaError if no experiment belongs to the series.
    """
    return read_runs(root, folder, _finished(root, folder, name))


def read_runs(root: Path, folder: str, commits: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return the test predictions of experiments; `commits` has the commit of each by its name.

    The column `called` is added: whether the cell is called parasitized at the run's threshold.
    """
    found = {}
    for experiment, commit in commits.items():
        content = file_at(root, commit, place(folder, PREDICTIONS))
        predictions = read_predictions(io.BytesIO(content))
        threshold = _metrics(root, commit, folder)["threshold"]
        tested = predictions[predictions["split"] == SPLIT][PREDICTION_COLUMNS]
        found[experiment] = tested.assign(called=tested["probability"] >= threshold)
    return found


def summarise(root: Path, folder: str, name: str) -> pd.DataFrame:
    """Return the test metrics of each finished run of a series, then their mean and sd.

    The sd is the spread of the runs; as folds share their training cells, it is not a standard
    error of the mean (Bengio and Grandvalet 2004, No Unbiased Estimator of the Variance of K-Fold
    Cross-Validation).
    """
    commits = _finished(root, folder, name)
    table = pd.DataFrame({run: _metrics(root, commits[run], folder) for run in commits}).T
    values = table.drop(columns=list(COUNTS))
    summary = pd.DataFrame({"mean": values.mean(), "sd": values.std(ddof=1)}).T
    whole = pd.concat([table, summary]).rename_axis("experiment").reset_index()
    return whole.astype(dict.fromkeys(COUNTS, "Int64"))


def _finished(root: Path, folder: str, name: str) -> dict[str, str]:
    """Return the commit of each run of a series by experiment, in the order of their numbers."""
    commits = list_experiments(root)
    matches = [re.fullmatch(rf"({re.escape(name)}-(?:fold|seed))(\d+)", run) for run in commits]
    found = sorted((int(match[2]), match[0]) for match in matches if match)
    if not found:
        kept = place(folder, f"{SERIES}/{name}.csv")
        known = f" (what one was summed up to is in {kept})" if (root / kept).is_file() else ""
        raise MalariaError(
            f"no DVC experiment belongs to a series {name!r}{known}; `uv run malaria repeat` makes "
            "one."
        )
    return {run: commits[run] for _, run in found}


def _metrics(root: Path, commit: str, folder: str) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(file_at(root, commit, place(folder, METRICS)))
    return dict(metrics[SPLIT])


def _has_run(root: Path, folder: str, repeat: Repeat) -> bool:
    """Return whether there is an experiment with exactly these params and this code."""
    params = _with(read_yaml(root / folder / PARAMS), repeat.settings)
    commit = list_experiments(root).get(repeat.experiment)
    if commit is None:
        return False
    lock = parse_yaml(file_at(root, commit, place(folder, LOCK)))
    ran = locked_parts(lock["stages"], hashes_in(lock))
    now = parts_now(root / folder, params)
    if all(ran.get(name) == now[name] for name in up_to(read_stages(root / folder, params), LAST)):
        return True
    remedy = dvc(folder, f"exp remove {repeat.experiment}")
    raise MalariaError(
        f"the DVC experiment {repeat.experiment} has run with other params or other code; give "
        f"--name another name, or remove it with `{remedy}`."
    )


def _with(params: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return the params with each KEY=VALUE set, checked."""
    params = deepcopy(params)  # read_yaml shares its values
    for setting in settings:
        key, equals, text = setting.partition("=")
        *sections, last = key.split(".")
        inner = params
        try:
            value = parse_yaml(text)
            for section in sections:
                inner = inner[section]
            if not equals or last not in inner:
                raise KeyError(key)
        except (KeyError, TypeError, ValueError):
            raise MalariaError(
                f"{setting!r} does not set a key of params.yaml; write it as train.epochs=2."
            ) from None
        inner[last] = value
    return check_study(params)
