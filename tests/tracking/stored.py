"""What `malaria sync` leaves in a store, for tests."""

import sqlite3
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from malaria.pipeline.history import select, worktree
from malaria.tracking.index import all_runs
from malaria.tracking.sync import sync
from malaria.tracking.sync_result import SyncResult
from malaria.tracking.write import MODEL_ID
from tests.lock_repo import LockRepo

NEXT = {"train": {"epochs": 3}}


def sync_all(repo: LockRepo, all_commits: bool = False, experiments: bool = False) -> SyncResult:
    revisions = select(repo.root, None, all_commits, experiments)
    return sync(repo.root, [*revisions, worktree(repo.root)])


def client_of(repo: LockRepo) -> MlflowClient:
    return MlflowClient(f"sqlite:///{repo.root / 'mlflow.db'}")


def all_of(repo: LockRepo) -> list[Run]:
    client = client_of(repo)
    return list(all_runs(client, [e.experiment_id for e in client.search_experiments()]))


def runs_of(repo: LockRepo, stage: str) -> list[Run]:
    return [run for run in all_of(repo) if run.data.tags["malaria.stage"] == stage]


def table(repo: LockRepo) -> dict[tuple[str, str], Any]:
    """Return all that is to be the same however often and whenever it is made, by the run."""
    client = client_of(repo)
    names = {run.info.run_id: run.info.run_name for run in all_of(repo)}
    found = {}
    for run in all_of(repo):
        models = [output.model_id for output in run.outputs.model_outputs if run.outputs]
        assert run.data.tags.get(MODEL_ID) == next(iter(models), None)
        names |= {model: client.get_logged_model(model).name for model in models}
        tags = {key: names.get(value, value) for key, value in run.data.tags.items()}
        artifacts = [item.path for item in client.list_artifacts(run.info.run_id)]
        history = [
            (metric.key, metric.step, metric.value)
            for key in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, key)
        ]
        info = run.info.status, run.info.start_time, run.info.end_time
        key = (run.info.run_name, run.data.tags["malaria.identity"])
        assert key not in found
        found[key] = (info, tags, run.data.params, history, sorted(artifacts))
    return found


def dump(repo: LockRepo) -> dict[str, list[Any]]:
    """Return every row of every table of the store."""
    with sqlite3.connect(repo.root / "mlflow.db") as store:
        names = [
            row[0] for row in store.execute("select name from sqlite_master where type='table'")
        ]
        return {name: sorted(map(repr, store.execute(f"select * from {name}"))) for name in names}
