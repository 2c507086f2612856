"""How values, tags and artifacts of runs are written to MLflow."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from malaria.core.addresses import shown
from malaria.pipeline.lock import Entry, LockedFile
from malaria.tracking.content import Point
from malaria.tracking.store import EXPERIMENT_ROW, IDENTITY, STAGE

if TYPE_CHECKING:
    import pandas as pd

ENTRY = "malaria.entry"  # the digest of the run's entry in dvc.lock
FOLDER = "malaria.folder"
MADE_BY = "malaria.made_by."  # and a dep's path: the run that made it
RUN_OF = "malaria.run."  # and a stage, on a row: the run whose results it shows
REBUILT = "malaria.rebuilt"
ERROR = "malaria.error"  # why it did not end well
PROCESS = "malaria.process"  # that logs it
MISSING = "malaria.missing"  # outputs that a later call may find
DEP, OUT = "dep.", "out."  # and a path: its md5
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
TABLES = "mlflow.loggedArtifacts"  # which artifacts the UI shows as tables
DVC_EXPERIMENT = "dvc.experiment"
KEPT = "malaria.kept"  # of a row without runs: the path that keeps its results
MODEL_ID = "malaria.model_id"  # MLflow's model: made by a training's run, shown by its row
LOCK_FILE = "lock.yaml"
# Tags that say when and by whom a run was made, not what it found; a rebuilt run has its own.
OF_THE_MAKING = frozenset(
    {
        MODEL_ID,
        PROCESS,
        REBUILT,
        NOTE,
        "mlflow.source.git.commit",
        "mlflow.user",
    }
)
METRICS_AT_ONCE, OTHERS_AT_ONCE = 900, 100  # that MLflow takes in one call


def common_tags(
    identity: str, folder: str, commit: str, dvc_experiment: str | None
) -> dict[str, str]:
    """Return the tags that rows and their stages' runs share; without what Git does not say."""
    tags = {IDENTITY: identity, FOLDER: folder, "mlflow.source.type": "LOCAL"}
    if commit:
        tags["mlflow.source.git.commit"] = commit
    return tags | ({DVC_EXPERIMENT: dvc_experiment} if dvc_experiment else {})


def row_tags(note: str) -> dict[str, str]:
    """Return the tags that only a row has."""
    return {STAGE: EXPERIMENT_ROW, "mlflow.source.name": "dvc.yaml", NOTE: note}


def stage_tags(entry: Entry, parent_id: str) -> dict[str, str]:
    """Return the tags that only a stage's run has, without those of its outputs."""
    return {
        STAGE: entry.stage,
        PARENT: parent_id,
        "mlflow.source.name": f"stages/{entry.stage}.py",
        **{f"{DEP}{entry.place(dep.path)}": dep.md5 for dep in entry.deps},
    }


def out_tags(entry: Entry) -> dict[str, str]:
    """Return the tags of a stage that has ended: its outputs, and the digest of its entry."""
    return {
        ENTRY: entry.digest,
        **{f"{OUT}{entry.place(out.path)}": out.md5 for out in entry.outs},
    }


def log(
    client: MlflowClient,
    run_id: str,
    time_ms: int,
    params: Mapping[str, Any] | None = None,
    points: Iterable[Point] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log values to a run, in as few calls as MLflow allows."""
    metrics = [Metric(point.name, float(point.value), time_ms, point.step) for point in points]
    texts = [Param(key, shown(str(value))) for key, value in (params or {}).items()]
    marks = [RunTag(key, value) for key, value in (tags or {}).items()]
    while metrics or texts or marks:
        now = metrics[: METRICS_AT_ONCE - OTHERS_AT_ONCE]
        client.log_batch(run_id, now, texts[:OTHERS_AT_ONCE], marks[:OTHERS_AT_ONCE])
        metrics = metrics[len(now) :]
        texts, marks = texts[OTHERS_AT_ONCE:], marks[OTHERS_AT_ONCE:]


def log_inputs(client: MlflowClient, run_id: str, entry: Entry, data: Sequence[LockedFile]) -> None:
    """Log what a stage read of other stages as datasets, named by their hash."""
    if data:
        found = [_dataset(entry.place(dep.path), dep.md5) for dep in data]
        client.log_inputs(run_id, found)


def log_files(
    client: MlflowClient,
    run_id: str,
    files: Mapping[str, Path],
    tables: Mapping[str, "pd.DataFrame"] | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Log files, tables and texts as artifacts under their names; a table is JSON, for the UI."""
    if not (files or tables or texts):
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            shutil.copyfile(path, _below(folder, name))
        for name, text in (texts or {}).items():
            _below(folder, name).write_text(text, encoding="utf-8")
        for name, table in (tables or {}).items():
            table.to_json(_below(folder, f"{name}.json"), orient="split", index=False)
        client.log_artifacts(run_id, folder)


def table_tags(tables: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Return the tag that makes the UI show and compare tables; `known` are the run's tags."""
    before = json.loads(known.get(TABLES, "[]"))
    shown = [{"path": f"{name}.json", "type": "table"} for name in tables]
    new = [item for item in shown if item not in before]
    return {TABLES: json.dumps(before + new)} if new else {}


def _below(folder: str, name: str) -> Path:
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _dataset(path: str, hash_: str) -> DatasetInput:
    dataset = Dataset(name=path, digest=hash_, source_type="dvc", source=f'{{"path": "{path}"}}')
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "input")])
