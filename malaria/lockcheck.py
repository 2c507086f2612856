"""Whether each dvc.lock tells of the files that stand beside it, also where there is no data.

`dvc status` compares code, params and outputs with the lock. For an output in DVC's cache it says
`deleted` or `not in cache` wherever the data was not fetched, which means nothing; whether the
stages agree on such an output is seen in the lock itself. Then metrics.json is computed again
from the predictions. Not seen is what only a run can tell: whether the predictions are the
model's.
"""

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from malaria.assessment import external_metrics
from malaria.errors import MalariaError
from malaria.external import read_external
from malaria.metrics import DIGITS, choose_threshold, compute_metrics, read_predictions
from malaria.params.base import PARAMS, read_yaml
from malaria.params.study import REPO, flatten
from malaria.pipeline import LOCK, METRICS, PIPELINES, PREDICTIONS, Stage, in_repo, read_stages

State = Literal["ok", "never run", "stale"]
Status = Mapping[str, Sequence[str | Mapping[str, Any]]]  # what `dvc status --json` prints
FETCHED_OR_NOT = {"deleted", "not in cache"}  # of what DVC keeps: says nothing
EVALUATE = "evaluate"
EXTERNAL = "reports/external.csv"
SPLITS = ("val", "test")
LAST_DIGIT = 1.5 * 10**-DIGITS  # rounding may fall the other way on another machine


@dataclass(frozen=True)
class LockState:
    """What a pipeline's lock is worth; a stale one has its faults, causes first."""

    folder: str
    state: State
    reasons: tuple[str, ...] = ()
    rerun: tuple[str, ...] = ()  # stages that have to run again, in their order
    remedy: str = ""


@dataclass(frozen=True)
class Change:
    """What is not as it was when the stages ran: a file, a param's key or a stage's command."""

    what: str
    how: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Pipeline:
    """What a folder's params.yaml, dvc.yaml and dvc.lock say."""

    root: Path
    folder: str  # from the root
    params: dict[str, Any]
    stages: dict[str, Stage]
    locked: dict[str, Any]  # by stage

    def place(self, path: str | Path) -> str:
        """Return a path of the folder, seen from the root."""
        return in_repo(str(path), self.root / self.folder, self.root)


def check_locks(root: Path, folders: Sequence[str] = PIPELINES) -> list[LockState]:
    """Return the state of each folder's lock; folders are seen from the repository's root.

    Raises MalariaError for a folder without a pipeline, and where DVC cannot read it.
    """
    return [check_lock(root, folder) for folder in folders]


def check_lock(root: Path, folder: str) -> LockState:
    """Return the state of one folder's lock."""
    pipeline = read_pipeline(root, folder)
    stages = pipeline.stages
    target = pipeline.place("dvc.yaml")
    if not (root / folder / LOCK).is_file():
        if not (root / folder / METRICS).is_file():
            return LockState(folder, "never run")
        fault = f"{pipeline.place(METRICS)} is there, but no {pipeline.place(LOCK)} tells its run"
        return LockState(folder, "stale", (fault,), tuple(stages), f"uv run dvc repro {target}")
    changes = find_changes(read_status(root, target), pipeline)
    reasons = [_sentence(change, pipeline) for change in changes]
    reasons += number_faults(pipeline)
    if not reasons:
        return LockState(folder, "ok")
    # What DVC does not see as changed, it runs again by force alone.
    remedy = f"uv run dvc repro {target}" if changes else f"uv run dvc repro --force {target}"
    changed = {stage for change in changes for stage in change.stages} or {EVALUATE}
    return LockState(folder, "stale", tuple(reasons), tuple(_from(changed, stages)), remedy)


def read_pipeline(root: Path, folder: str) -> Pipeline:
    """Return a folder's pipeline; without a lock nothing is locked."""
    base = root / folder
    if not (base / "dvc.yaml").is_file():
        raise MalariaError(
            f"{folder} has no dvc.yaml; name a folder with a pipeline ({', '.join(PIPELINES)})."
        )
    params = read_yaml(base / PARAMS)
    locked = read_yaml(base / LOCK).get("stages", {}) if (base / LOCK).is_file() else {}
    return Pipeline(root, folder, params, read_stages(base, params[REPO]), locked)


def read_status(root: Path, target: str) -> Status:
    """Return what `dvc status --json` says of a dvc.yaml, by the names of its stages."""
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json", target],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        said = " ".join(result.stderr.removeprefix("ERROR:").split())
        raise MalariaError(f"`uv run dvc status {target}` failed: {said}")
    status: dict[str, Any] = json.loads(result.stdout)
    return {name.rpartition(":")[2]: entries for name, entries in status.items()}


def find_changes(status: Status, pipeline: Pipeline) -> list[Change]:
    """Return what changed without a run, each thing once, in the order of the stages.

    What only follows from another change is left out: a stage's input is its maker's affair.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for name, stage in pipeline.stages.items():
        if name not in pipeline.locked:
            found[name, "not run"] = [name]
            continue
        told = [
            *_changed_in_lock(stage, pipeline),
            *_changed_in_status(status.get(name, ()), stage, pipeline),
        ]
        for change in told:
            found.setdefault(change, []).append(name)
    return [Change(what, how, tuple(names)) for (what, how), names in found.items()]


def number_faults(pipeline: Pipeline) -> Iterator[str]:
    """Give a sentence for each number of metrics.json that the predictions do not give.

    A file that is missing is told by `find_changes`.
    """
    folder = pipeline.root / pipeline.folder
    rule = _locked_params(EVALUATE, pipeline).get("evaluate.threshold")
    if rule is None or not all((folder / file).is_file() for file in (METRICS, PREDICTIONS)):
        return
    shown = pipeline.place(METRICS)
    try:
        written = json.loads((folder / METRICS).read_text())
        predictions = read_predictions(folder / PREDICTIONS)
        val = predictions[predictions["split"] == "val"]
        chosen = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy(), rule)
        again = flatten(_computed_again(written, predictions, folder / EXTERNAL))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield f"{shown} cannot be computed again from {PREDICTIONS} ({error!r})"
        return
    for split in SPLITS:
        threshold = written[split]["threshold"]
        if threshold != chosen:
            yield (
                f"{split}.threshold in {shown} is {threshold!r}, but {rule} chooses {chosen!r} "
                f"on the val cells of {PREDICTIONS}"
            )
    told = flatten(written)
    for key in told | again:
        if key not in told or key not in again or not _is_same(told[key], again[key]):
            source = EXTERNAL if key.startswith("external") else PREDICTIONS
            yield (
                f"{key} in {shown} is {told.get(key, 'missing')}, but {source} gives "
                f"{again.get(key, 'no such number')} at the file's threshold"
            )


def _changed_in_status(
    entries: Sequence[str | Mapping[str, Any]], stage: Stage, pipeline: Pipeline
) -> Iterator[tuple[str, str]]:
    """Give what DVC names as changed in what the lock knows of a stage, and how."""
    place, locked = pipeline.place, pipeline.locked[stage.name]
    cached = {place(out) for out in stage.cached}
    left = {place(out["path"]) for out in locked.get("outs", [])}
    read = {place(dep["path"]) for dep in locked.get("deps", [])}
    made = {place(out) for other in pipeline.stages.values() for out in other.outs}
    for entry in entries:
        if isinstance(entry, str):
            yield stage.name, entry
            continue
        for path, how in entry.get("changed outs", {}).items():
            if path in left and not (path in cached and how in FETCHED_OR_NOT):
                yield path, f"output {how}"
        for path, how in entry.get("changed deps", {}).items():
            if isinstance(how, Mapping):  # of params
                yield from _changed_params(how, stage, pipeline)
            elif path in read - made:
                yield path, f"dep {how}"


def _changed_params(
    keys: Mapping[str, str], stage: Stage, pipeline: Pipeline
) -> Iterator[tuple[str, str]]:
    """Give the params that differ where DVC names a key, which may be that of a whole section."""
    locked = _locked_params(stage.name, pipeline)
    now = flatten(pipeline.params)
    for key in filter(locked.__contains__, keys):
        before = flatten({key: locked[key]})
        differing = {
            name: "deleted" if name not in now else "modified" if name in before else "added"
            for name in before | now
            if f"{name}.".startswith(f"{key}.")
            and (name in before, before.get(name)) != (name in now, now.get(name))
        }
        for name, how in (differing or {key: keys[key]}).items():
            yield name, f"param {how}"


def _changed_in_lock(stage: Stage, pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Give what dvc.yaml names for a stage and the lock does not, and inputs of another run."""
    read = {dep["path"]: dep["md5"] for dep in pipeline.locked[stage.name].get("deps", [])}
    left = {
        out["path"]: out["md5"]
        for entry in pipeline.locked.values()
        for out in entry.get("outs", [])
    }
    files = [dep for dep in stage.deps if dep not in read]
    files += [out for out in stage.outs if out not in left]
    keys = [key for key in stage.params if key not in _locked_params(stage.name, pipeline)]
    if files or keys:
        yield ", ".join([*map(pipeline.place, files), *keys]), "new"
    for dep in stage.deps:
        if dep in read and left.get(dep, read[dep]) != read[dep]:
            yield pipeline.place(dep), "dep made anew"


def _sentence(change: Change, pipeline: Pipeline) -> str:
    """Return what changed, for people."""
    what, stages, first = change.what, _listed(change.stages), change.stages[0]
    lock, params = pipeline.place(LOCK), pipeline.place(PARAMS)
    match change.how:
        case "not run":
            return f"{what} is not in {lock}: it has not run"
        case "changed command":
            return f"the command of {what} was changed after it ran"
        case "output modified":
            return f"{what} was changed after {stages} left it"
        case "output deleted":
            return f"{what}, which {stages} left, is missing"
        case "dep modified":
            return f"{what} was changed after {stages} ran"
        case "dep deleted":
            return f"{what}, which {stages} read, is missing"
        case "dep made anew":
            return f"{what} was made anew after {stages} read it"
        case "param modified":
            now = _json(flatten(pipeline.params).get(what))
            before = _json(flatten(_locked_params(first, pipeline)).get(what))
            return f"{what} in {params} is {now}, but {stages} ran with {before}"
        case "param added":
            return f"{what} was added to {params} after {stages} ran"
        case "param deleted":
            return f"{what}, which {stages} ran with, is missing from {params}"
        case "new":
            return f"{stages} has not run since it was given {what} in {pipeline.place('dvc.yaml')}"
    return f"{what}: {change.how}, says `dvc status`"


def _computed_again(
    written: Mapping[str, Any], predictions: Any, external: Path
) -> dict[str, object]:
    """Return what metrics.json should hold at its own thresholds, with NaN for its null."""
    again: dict[str, Any] = {
        split: compute_metrics(
            predictions[predictions["split"] == split], written[split]["threshold"]
        )
        for split in SPLITS
    }
    if external.is_file():
        again["external"] = external_metrics(read_external(external), written["test"]["threshold"])
    return again


def _is_same(told: object, again: object) -> bool:
    """Tell whether a number of the file is the one computed; null stands for NaN."""
    if not isinstance(again, float | int) or not isinstance(told, float | int | None):
        return told == again
    if told is None or math.isnan(again):
        return told is None and math.isnan(again)
    return math.isclose(told, again, rel_tol=0, abs_tol=LAST_DIGIT)


def _locked_params(stage: str, pipeline: Pipeline) -> dict[str, Any]:
    """Return the params that a stage ran with, by their dotted keys."""
    params: dict[str, dict[str, Any]] = pipeline.locked.get(stage, {}).get("params", {})
    return next(iter(params.values()), {})


def _from(changed: set[str], stages: Mapping[str, Stage]) -> Iterator[str]:
    """Give the changed stages and those that follow from them."""
    made: set[str] = set()
    for name, stage in stages.items():
        if name in changed or made & set(stage.deps):
            made |= set(stage.outs)
            yield name


def _listed(names: Sequence[str]) -> str:
    """Return names as a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _json(value: object) -> str:
    return json.dumps(value, default=str)
