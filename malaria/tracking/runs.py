"""Creates and completes runs and experiment rows, from entries of dvc.lock and their files.

A stage that ends and `malaria sync` both come here, so a live run and a rebuilt one are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.tracking import MlflowClient

from malaria.core.addresses import shown
from malaria.core.params import flatten
from malaria.pipeline.lock import Entry, LockedFile
from malaria.tracking.content import Point, RunContent
from malaria.tracking.index import FINISHED, RUNNING, SCHEDULED, Index, StoredRun, unlike
from malaria.tracking.models import add_model, link_model
from malaria.tracking.write import (
    LOCK_FILE,
    MADE_BY,
    MISSING,
    PARENT,
    log,
    log_files,
    log_inputs,
    out_tags,
    stage_tags,
    table_tags,
)

BY_EPOCH = "val_loss"  # a metric that each epoch has


@dataclass(frozen=True)
class Target:
    """An experiment in MLflow, and the runs of it that are known here."""

    client: MlflowClient
    experiment_id: str
    index: Index


def create(target: Target, name: str, time_ms: int, tags: Mapping[str, str]) -> StoredRun:
    """Create a run or row, with as many of its tags as are known: later ones cost MLflow more."""
    run = target.client.create_run(target.experiment_id, time_ms, dict(tags), name)
    created = StoredRun(run.info.run_id, RUNNING, time_ms, dict(tags))
    target.index.add(created)
    return created


def create_run(
    target: Target, entry: Entry, parent: StoredRun, time_ms: int, tags: Mapping[str, str]
) -> StoredRun:
    """Create the run of a stage, for `complete_run` to fill."""
    own = stage_tags(entry, parent.run_id) | makers_of(target, entry)
    return create(target, entry.stage, time_ms, {**tags, **own})


def complete_run(
    target: Target,
    entry: Entry,
    data: list[LockedFile],
    run: StoredRun,
    content: RunContent,
    time_ms: int,
    tags: Mapping[str, str],
) -> None:
    """Log what the run does not have yet of its content, and close it.

    `data` is what the stage read of other stages, `tags` come in addition to those of the outputs.
    """
    client, run_id = target.client, run.run_id
    is_open = run.status != FINISHED
    params = flatten(entry.params) | content.params if is_open else content.params
    if is_open:
        log_inputs(client, run_id, entry, data)
    steps = logged_epochs(client, run)
    points = [
        point
        for point in content.points
        if (point.step not in steps if point.step else run.metrics.get(point.name) != point.value)
    ]
    texts = {LOCK_FILE: shown(entry.text())} if is_open else None
    log_files(client, run_id, content.files, content.tables, texts)
    own = table_tags(content.tables, run.tags) | out_tags(entry)
    _close(target, run, time_ms, content.missing, params, points, {**tags, **own})


def logged_epochs(client: MlflowClient, run: StoredRun) -> set[int]:
    """Return the epochs that a training's run has."""
    if BY_EPOCH not in run.metrics:
        return set()
    return {metric.step for metric in client.get_metric_history(run.run_id, BY_EPOCH)}


def relate_run(target: Target, entry: Entry, run: StoredRun, parent: StoredRun) -> bool:
    """Link a run to its row, its model and its inputs' makers; return whether a link was new."""
    runs = target.index.runs
    makers = makers_of(target, entry).items()
    tags = {key: maker for key, maker in makers if run.tags.get(key) not in runs}
    if run.tags.get(PARENT) not in runs:
        tags[PARENT] = parent.run_id
    _log(target, run, run.start_ms, tags=tags)
    return add_model(target.client, target.experiment_id, entry, run) or bool(tags)


def complete_row(
    target: Target,
    row: StoredRun,
    params: Mapping[str, Any],
    content: RunContent,
    tags: Mapping[str, str],
    model_id: str | None,
    ended_ms: int | None,
) -> bool:
    """Log to a row what it does not have yet of its stages; return whether anything changed.

    It is closed at `ended_ms`; None while the model has yet to be evaluated.
    """
    is_linked = link_model(target.client, row, model_id)
    new = unlike(tags, row.tags)
    known = {**params, **content.counts}
    unknown = {key: known[key] for key in known.keys() - row.params.keys()}
    points = [point for point in content.headline if row.metrics.get(point.name) != point.value]
    is_closed = row.status == FINISHED or ended_ms is None
    before = row.tags.get(MISSING, "")
    changes = new or unknown or points or content.on_row or before != joined(content.missing)
    if not changes and is_closed:
        return is_linked
    log_files(target.client, row.run_id, content.on_row)
    if ended_ms is None:
        _log(target, row, row.start_ms, unknown, points, new)
    else:
        _close(target, row, ended_ms, content.missing, unknown, points, new)
    return True


def wait(target: Target, row: StoredRun) -> bool:
    """Show that a row waits for its next stage, as none runs now; return whether that was new."""
    if row.status != RUNNING:
        return False
    target.client.update_run(row.run_id, status=SCHEDULED)
    row.status = SCHEDULED
    return True


def makers_of(target: Target, entry: Entry) -> dict[str, str]:
    """Return a tag for each input that names the run which made it, as far as it is known."""
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


def _log(
    target: Target,
    run: StoredRun,
    time_ms: int,
    params: Mapping[str, Any] | None = None,
    points: list[Point] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log what the run does not have yet; MLflow refuses a param that is logged twice."""
    texts = unlike({key: shown(str(value)) for key, value in (params or {}).items()}, run.params)
    marks = unlike(tags or {}, run.tags)
    log(target.client, run.run_id, time_ms, texts, points or [], marks)
    run.params |= texts
    run.metrics |= {point.name: point.value for point in points or []}
    run.tags |= marks


def _close(
    target: Target,
    run: StoredRun,
    time_ms: int,
    missing: list[str],
    params: Mapping[str, Any],
    points: list[Point],
    tags: Mapping[str, str],
) -> None:
    """Log what comes last and set the run to FINISHED."""
    if missing:
        tags = {**tags, MISSING: joined(missing)}
    elif MISSING in run.tags:
        target.client.delete_tag(run.run_id, MISSING)
        del run.tags[MISSING]
    _log(target, run, time_ms, params, points, tags)
    if run.status != FINISHED:
        target.client.set_terminated(run.run_id, FINISHED, max(time_ms, run.start_ms))
        run.status = FINISHED
    target.index.add(run)
