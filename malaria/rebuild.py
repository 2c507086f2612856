"""One run or row made in MLflow from what a lock and its files tell, or completed."""

import malaria.quiet_mlflow  # noqa: F401

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.tracking import MlflowClient

from malaria.entry import Entry, LockedFile
from malaria.index import FINISHED, RUNNING, Index, Known, unlike
from malaria.logged import (
    LOCK_FILE,
    MADE_BY,
    PARENT,
    log,
    log_files,
    log_inputs,
    out_tags,
    row_tags,
    stage_tags,
    table_tags,
)
from malaria.logged_model import log_model
from malaria.params.study import flatten
from malaria.record import Point, Told

REBUILT = "malaria.rebuilt"
MISSING = "malaria.missing"  # outputs that a later call may find


@dataclass(frozen=True)
class Target:
    """An experiment in MLflow, and what it holds."""

    client: MlflowClient
    experiment_id: str
    index: Index


@dataclass(frozen=True)
class Origin:
    """What a run or row is made from beside its files: when, and its common tags."""

    time_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)


def make_run(target: Target, entry: Entry, parent: Known, origin: Origin) -> Known:
    """Make the run of an entry, for `write_run` to fill.

    It has all tags from the beginning, as MLflow takes long for those that come later.
    """
    tags = {
        **origin.tags,
        **stage_tags(entry, parent.run_id),
        **makers_of(target, entry),
        **out_tags(entry),
        REBUILT: "true",
    }
    return _create(target, entry.stage, origin.time_ms, tags)


def write_run(
    target: Target,
    entry: Entry,
    data: list[LockedFile],
    known: Known,
    told: Told,
    time_ms: int,
) -> None:
    """Log what the files tell, as far as the run has it not, and end it.

    `data` is what the stage read of other stages. Whatever of this was done before, by live
    logging or a call that was killed, is not done again.
    """
    client, run_id = target.client, known.run_id
    is_new = known.status != FINISHED
    params = told.params
    if is_new:
        params = flatten(entry.params) | params
        log_inputs(client, run_id, entry, data)
    epochs = client.get_metric_history(run_id, "epoch") if "epoch" in known.metrics else []
    steps = {metric.step for metric in epochs}
    points = [
        point
        for point in told.points
        if (point.step not in steps if point.step else known.metrics.get(point.name) != point.value)
    ]
    texts = {LOCK_FILE: entry.text()} if is_new else None
    log_files(client, run_id, told.files, told.tables, texts)
    for model in told.models:
        log_model(client, client.get_run(run_id), model, known.params | params)
    tags = table_tags(told.tables, known.tags) | out_tags(entry) | {REBUILT: "true"}
    _end(target, known, time_ms, told.missing, params, points, tags)


def relate_run(target: Target, entry: Entry, known: Known, parent: Known) -> bool:
    """Tell a run who made its inputs, and its row, where it does not know; return whether so."""
    runs = target.index.runs
    tags = {
        key: maker
        for key, maker in makers_of(target, entry).items()
        if known.tags.get(key) not in runs
    }
    if known.tags.get(PARENT) not in runs:
        tags[PARENT] = parent.run_id
    _log(target, known, known.start_ms, tags=tags)
    return bool(tags)


def make_row(target: Target, name: str, note: str, origin: Origin) -> Known:
    """Make the row of an experiment, for `write_row` to fill."""
    tags = {**origin.tags, **row_tags(note), REBUILT: "true"}
    return _create(target, name, origin.time_ms, tags)


def write_row(
    target: Target,
    known: Known,
    params: Mapping[str, Any],
    told: Told,
    tags: Mapping[str, str],
    ended_ms: int | None,
) -> bool:
    """Log to a row what it has not of its stages, and end it; return whether anything changed.

    `ended_ms` is None while stages of it are still to run.
    """
    new = unlike(tags, known.tags)
    unknown = params.keys() - known.params.keys()
    points = [point for point in told.headline if known.metrics.get(point.name) != point.value]
    is_ended = known.status == FINISHED or ended_ms is None
    before = known.tags.get(MISSING, "")
    changes = new or unknown or points or told.on_row or before != joined(told.missing)
    if not changes and is_ended:
        return False
    time_ms = known.start_ms if ended_ms is None else ended_ms
    log_files(target.client, known.run_id, told.on_row)
    missing_params = {key: params[key] for key in unknown}
    if ended_ms is None:
        _log(target, known, time_ms, missing_params, points, new)
    else:
        _end(target, known, time_ms, told.missing, missing_params, points, new)
    return True


def makers_of(target: Target, entry: Entry) -> dict[str, str]:
    """Return a tag for each input that tells which run made it, as far as runs are known."""
    found = {}
    for dep in entry.deps:
        path = entry.place(dep.path)
        maker = target.index.maker_of(path, dep.md5)
        if maker is not None:
            found[f"{MADE_BY}{path}"] = maker
    return found


def joined(paths: list[str]) -> str:
    """Return paths as the text of a tag."""
    return ", ".join(paths)


def _create(target: Target, name: str, time_ms: int, tags: Mapping[str, str]) -> Known:
    run = target.client.create_run(target.experiment_id, time_ms, dict(tags), name)
    known = Known(run.info.run_id, RUNNING, time_ms, dict(tags))
    target.index.add(known)
    return known


def _log(
    target: Target,
    known: Known,
    time_ms: int,
    params: Mapping[str, Any] | None = None,
    points: list[Point] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log what the run has not yet; a param of MLflow cannot be logged twice."""
    texts = unlike({key: str(value) for key, value in (params or {}).items()}, known.params)
    marks = unlike(tags or {}, known.tags)
    log(target.client, known.run_id, time_ms, texts, points or [], marks)
    known.params |= texts
    known.metrics |= {point.name: point.value for point in points or []}
    known.tags |= marks


def _end(
    target: Target,
    known: Known,
    time_ms: int,
    missing: list[str],
    params: Mapping[str, Any],
    points: list[Point],
    tags: Mapping[str, str],
) -> None:
    """Log what comes last and close the run, if it is not."""
    if missing:
        tags = {**tags, MISSING: joined(missing)}
    elif MISSING in known.tags:
        target.client.delete_tag(known.run_id, MISSING)
        del known.tags[MISSING]
    _log(target, known, time_ms, params, points, tags)
    if known.status != FINISHED:
        target.client.set_terminated(known.run_id, FINISHED, max(time_ms, known.start_ms))
        known.status = FINISHED
    target.index.add(known)
