"""What tests read of the MLflow store of a checkout, and how they lose and rebuild it."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from malaria.pipeline.stages import md5
from malaria.tracking.content import LIVE_ONLY
from malaria.tracking.index import all_runs
from malaria.tracking.write import OF_THE_MAKING

from .conftest import Checkout
from .test_commands import malaria


def uri_of(checkout: Checkout) -> str:
    return f"sqlite:///{checkout.root / 'mlflow.db'}"


def runs_in(uri: str, where: str = "tags.`malaria.folder` = 'demo'") -> list[Run]:
    client = MlflowClient(uri)
    return list(all_runs(client, [e.experiment_id for e in client.search_experiments()], where))


def content_of(uri: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what a store has of each run, by its name and experiment."""
    client, runs = MlflowClient(uri), runs_in(uri)
    names = {run.info.run_id: run.info.run_name for run in runs}
    found = {}
    for run in runs:
        data = run.data
        tags = {key: names.get(value, value) for key, value in data.tags.items()}
        has_any = client.list_artifacts(run.info.run_id)
        folder = Path(client.download_artifacts(run.info.run_id, "") if has_any else "nothing")
        found[run.info.run_name, data.tags["malaria.identity"]] = {
            "status": run.info.status,
            "params": data.params,
            "metrics": {key: data.metrics[key] for key in data.metrics.keys() - LIVE_ONLY},
            "history": {
                (metric.key, metric.step, metric.value)
                for key in data.metrics.keys() - LIVE_ONLY
                for metric in client.get_metric_history(run.info.run_id, key)
            },
            "tags": {key: tags[key] for key in tags.keys() - OF_THE_MAKING},
            "artifacts": {
                path.relative_to(folder).as_posix(): md5(path)
                for path in folder.rglob("*")
                if path.is_file() and path.name != "lock.yaml"
            },
            "inputs": {
                (item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs
            },
        }
    assert len(found) == len(runs)
    return found


def dump(checkout: Checkout) -> dict[str, list[str]]:
    """Return every row of every table of the store, and every artifact's bytes and time."""
    with sqlite3.connect(checkout.root / "mlflow.db") as store:
        names = [
            row[0] for row in store.execute("select name from sqlite_master where type='table'")
        ]
        rows = {name: sorted(map(repr, store.execute(f"select * from {name}"))) for name in names}
    files = [path for path in (checkout.root / "mlartifacts").rglob("*") if path.is_file()]
    artifacts = [f"{path} {path.stat().st_mtime_ns} {md5(path)}" for path in sorted(files)]
    assert artifacts
    return rows | {"artifacts": artifacts}


def lose_store(checkout: Checkout) -> None:
    for path in checkout.root.glob("mlflow.db*"):
        path.unlink()
    shutil.rmtree(checkout.root / "mlartifacts", ignore_errors=True)


def sync(checkout: Checkout, *options: str) -> dict[str, Any]:
    """Return what the checkout's `malaria sync` says that it did."""
    return dict(json.loads(malaria(checkout, "sync", "--json", *options).stdout))


def skipped(synced: dict[str, Any]) -> list[str]:
    """Return the demo's outputs that were not there; of the pilot nothing was ever fetched."""
    return [left["path"] for left in synced["skipped"] if left["path"].startswith("demo/")]
