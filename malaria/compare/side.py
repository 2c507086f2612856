"""One of the compared models: what it was run with, what it predicts, and how it was trained."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from malaria.core.params import flatten
from malaria.core.yaml_files import find_mapping
from malaria.errors import MalariaError
from malaria.evaluation.measures import METRICS as MEASURES
from malaria.gate.predictions import SPLIT, Evaluated, Files, read_evaluated
from malaria.paths import HISTORY, LOCK, METRICS, PARAMS, PREDICTIONS
from malaria.pipeline.identity import Parts, locked_parts, params_of
from malaria.pipeline.lock import read_entries
from malaria.pipeline.stages import hashes_in

OTHERS = ("gate.", "mlflow.")  # params that no stage reads
EVALUATE = "evaluate"  # the stage that gives a model its results
EPOCH, LOSS = "epoch", "val_loss"  # columns that every history has


@dataclass(frozen=True)
class Source:
    """Where a model's files are."""

    name: str  # as it was asked for
    kind: str  # for people, as in "DVC experiment"
    about: str  # more for people: commit, date, subject
    read: Callable[[str], bytes | None]  # a file by its path in the pipeline's folder
    commit: str = ""  # that has the code, too
    params: Mapping[str, str] = field(default_factory=dict)  # where there is no file of them
    experiment: str = ""  # the DVC experiment whose params and small results were kept
    run_id: str = ""  # of the row in MLflow
    has_predictions: bool = True  # else they may be missing


@dataclass(frozen=True)
class Side:
    """A model as it is compared."""

    source: Source
    params: Mapping[str, str]  # values as text, by their dotted keys
    code: Mapping[str, str]  # md5 by path in the repository; {} if not known
    outputs: Mapping[str, str]  # md5 by path in the pipeline's folder; {} if not known
    evaluated: Evaluated | None
    metrics: Mapping[str, float]  # of the test split, as written
    history: pd.DataFrame | None  # a row for each epoch


def read_side(source: Source) -> Side:
    """Return what a source's files say.

    Raises MalariaError, in one sentence, for results that are missing, incomplete or broken.
    """
    predictions, metrics = source.read(PREDICTIONS), source.read(METRICS)
    whose = f"{source.kind} {source.name}"
    if metrics is None or (predictions is None and source.has_predictions):
        missing = METRICS if metrics is None else PREDICTIONS
        raise MalariaError(
            f"the {whose} has no {missing}, so it has no results to compare; name one that ran up "
            "to `evaluate`, or its pipeline with --folder."
        )
    evaluated = None
    if predictions is not None:
        evaluated = read_evaluated(Files(predictions, metrics), f"the {whose}")
    lock = _lock(source.read(LOCK), whose)
    parts = _parts_behind_results(lock)
    code = {path: md5 for part in parts.values() for path, md5 in part["code"].items()}
    return Side(
        source,
        _texts(params_of(parts) if parts else _written(source)),
        code,
        hashes_in(lock) if lock else {},
        evaluated,
        _metrics(metrics, whose),
        _history(source.read(HISTORY), whose),
    )


def _lock(content: bytes | None, whose: str) -> dict[str, Any]:
    """Return the content of a dvc.lock; {} if there is none."""
    if content is None:
        return {}
    read_entries(content, "", f"{LOCK} of the {whose}")  # raises what is wrong with it
    return find_mapping(content) or {}


def _parts_behind_results(lock: Mapping[str, Any]) -> Parts:
    """Return params and code of the stages that the evaluation rests on.

    Other entries of a lock (heat maps, the report) may be left over from an earlier run.
    """
    stages = lock.get("stages", {})
    maker = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", [])}
    behind, waiting = set(), [EVALUATE] if EVALUATE in stages else [*stages]
    while waiting:
        name = waiting.pop()
        if name not in behind:
            behind.add(name)
            deps = (dep["path"] for dep in stages[name].get("deps", []))
            waiting += [maker[path] for path in deps if path in maker]
    return locked_parts({name: stages[name] for name in stages if name in behind}, maker)


def _written(source: Source) -> Mapping[str, Any]:
    content = source.read(PARAMS)
    if content is None:
        return source.params
    found = find_mapping(content)
    if found is None:
        raise MalariaError(
            f"{PARAMS} of the {source.kind} {source.name} is not a mapping in YAML; correct it."
        )
    return {key: value for key, value in flatten(found).items() if not key.startswith(OTHERS)}


def _texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Return values as MLflow has them, so that a run there compares with a commit."""
    return {key: str(value) for key, value in params.items()}


def _metrics(content: bytes, whose: str) -> dict[str, float]:
    try:
        found = json.loads(content)[SPLIT]
        return {
            name: float("nan") if found[name] is None else float(found[name])
            for name in MEASURES
            if name in found
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalariaError(
            f"{METRICS} of the {whose} is not JSON with numbers under `{SPLIT}`; evaluate again "
            "with `uv run dvc repro`."
        ) from None


def _history(content: bytes | None, whose: str) -> pd.DataFrame | None:
    if content is None:
        return None
    try:
        if not content.endswith(b"\n"):
            raise ValueError("its last line is cut off")
        table = pd.read_csv(io.BytesIO(content))
        if not {EPOCH, LOSS} <= set(table) or table.empty or table[EPOCH].isna().any():
            raise ValueError(f"no whole rows with the columns {EPOCH} and {LOSS}")
        return table.astype("float64")
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise MalariaError(
            f"{HISTORY} of the {whose} is broken ({' '.join(str(error).split())}); train again "
            "with `uv run dvc repro`."
        ) from None
