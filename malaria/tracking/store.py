"""The MLflow store: where it is, how it is opened, and what a call to it may cost."""

import errno
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from malaria.core.addresses import shown
from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.paths import PARAMS, PIPELINES
from malaria.tracking.address import (
    existing_file,
    limited,
    reason_of,
    shown_uri,
    sqlite_file,
    tracking_uri,
)
from malaria.tracking.places import place_of, prepare

IDENTITY = "malaria.identity"
STAGE = "malaria.stage"
EXPERIMENT_ROW = "experiment"  # the stage tag of a parent run
DEFAULT = "0"  # the id of MLflow's own empty experiment
UPLOAD_LIMIT_S = 60
LOCK_LIMIT_S = 180  # a dozen processes on a busy machine take their turns; a killed one leaves none
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
# A saved view of the UI, listed under "Views": a row an experiment, what it is judged by first. It
# opens at #/experiments/<id>/runs?viewStateShareKey=rows.
VIEW = "rows"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
VIEW_NAME = "One row an experiment"
COLUMNS = [
    "metrics.`test.sensitivity`",
    "metrics.`test.specificity`",
    "metrics.`test.roc_auc`",
    "metrics.`test.accuracy`",
    "metrics.`test.mcc`",
    "metrics.`val.roc_auc`",
    "metrics.`val.accuracy`",
    "params.`train.model`",
    "params.`preprocess.size`",
    "params.`train.epochs`",
    "params.`train.learning_rate`",
    "params.`split.unit`",
    "attributes.`Description`",
]
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # opens with runs, not traces of a chat
    VIEW_TAG: json.dumps(
        {
            "name": VIEW_NAME,
            "createdAt": 0,
            "state": json.dumps(
                {
                    "searchFilter": f"tags.`{STAGE}` = '{EXPERIMENT_ROW}'",
                    "selectedColumns": COLUMNS,
                    "columnOrder": COLUMNS,
                }
            ),
        }
    ),
}


def open_store(root: Path, experiment: str) -> tuple[MlflowClient, str]:
    """Return a client and the id of the experiment, both made at first use.

    Processes that make the same sqlite store at once would break it, so they take turns. Raises
    MalariaError for an experiment that was deleted.
    """
    uri = tracking_uri(root)
    file = sqlite_file(uri)
    with _turns(file):
        is_new = file is not None and not file.exists()
        make_ready(uri, root)
        client = connect(uri)
        if is_new:  # MLflow's own, whose artifacts would lie in the folder of this first stage
            client.delete_experiment(DEFAULT)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            found = _make_experiment(client, root, experiment)
        if is_deleted(found):
            raise MalariaError(f"{about_deleted(found)}, or name another in {PARAMS}.")
        for key, value in EXPERIMENT_TAGS.items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, value)
        return client, found.experiment_id


def make_ready(uri: str, root: Path) -> None:
    """Correct the places of artifacts in a store that was moved with the repository, and say so.

    Raises sqlite3.Error within seconds for a file that cannot be written.
    """
    file = sqlite_file(uri)
    for sentence in prepare(file, root) if file is not None else []:
        print(f"mlflow: {sentence}", file=sys.stderr)


def open_existing(root: Path) -> MlflowClient:
    """Return a client of a store that is there; raises MalariaError where there is none yet."""
    uri = tracking_uri(root)
    existing_file(uri)
    return connect(uri)


def connect(uri: str) -> MlflowClient:
    """Return a client whose first call takes no longer than another one."""
    if not uri.startswith(("http://", "https://")):
        from mlflow.store.db import utils  # not public; pyproject.toml pins MLflow's version

        utils.MAX_RETRY_COUNT = 1  # ten would take 100 s
    return MlflowClient(limited(uri))


def is_deleted(experiment: Experiment) -> bool:
    """Return whether somebody deleted an experiment: MLflow keeps it, and logs nothing to it."""
    return bool(experiment.lifecycle_stage != LifecycleStage.ACTIVE)


def about_deleted(experiment: Experiment) -> str:
    """Return what brings a deleted experiment back, for a sentence."""
    return (
        f"the MLflow experiment {experiment.name} is deleted; restore it with `uv run mlflow "
        f"experiments restore --experiment-id {experiment.experiment_id}`, at the repository's root"
    )


def deleted_experiments(client: MlflowClient, root: Path) -> list[Experiment]:
    """Return the experiments that the pipelines' params name and somebody deleted."""
    params = [root / folder / PARAMS for folder in PIPELINES]
    sections = [read_yaml(path).get("mlflow") or {} for path in params if path.is_file()]
    names = {section["experiment"] for section in sections if "experiment" in section}
    found = map(client.get_experiment_by_name, sorted(names))
    return [experiment for experiment in found if experiment and is_deleted(experiment)]


@contextmanager
def answering(root: Path) -> Iterator[None]:
    """Turn a failure of the store into one sentence; calls may take as long as uploads do."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with http_limit(UPLOAD_LIMIT_S):
            yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise MalariaError(
            f"the MLflow store {shown_uri(root)} failed ({reason_of(error)}); {_remedy(error)}. "
            "What was done is kept, and the same command continues."
        ) from None


def _remedy(error: Exception) -> str:
    response = getattr(error, "response", None)  # of an upload, which MLflow does not translate
    code = response.status_code if response is not None else getattr(error, "error_code", None)
    if code in (401, "UNAUTHENTICATED"):
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user there"
    if code in (403, "PERMISSION_DENIED"):
        return "an admin or who made the experiment can give you EDIT on it (docs/team_server.md)"
    if getattr(error, "errno", None) in DISK_FULL or "disk is full" in str(error):
        return "free some space"
    if "database is locked" in str(error):
        return "end the program that holds it"
    if isinstance(error, sqlite3.Error):
        return (
            "see that you may write there and that its path has less than 500 characters, or name "
            "another in MLFLOW_TRACKING_URI"
        )
    return "start it, or name another in MLFLOW_TRACKING_URI"


@contextmanager
def http_limit(limit_s: int | None) -> Iterator[None]:
    """Give uploads longer than other calls: a server may answer only when it has stored all."""
    if limit_s is None:
        yield
        return
    usual = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(limit_s)
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = usual


def find_row(client: MlflowClient, experiment_id: str, identity: str) -> str | None:
    """Return the id of the parent run, the experiment's row in the UI, None where there is none."""
    found = client.search_runs(
        [experiment_id],
        f"tags.`{IDENTITY}` = '{identity}' and tags.`{STAGE}` = '{EXPERIMENT_ROW}'",
        max_results=1,
    )
    return str(found[0].info.run_id) if found else None


def find_address(uri: str, experiment: str, identity: str) -> str | None:
    """Return the web address of an experiment's row on a server, None where it has no such row.

    Makes nothing there. Raises whatever MLflow's client does.
    """
    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment)
    row = find_row(client, known.experiment_id, identity) if known else None
    if known is None or row is None:
        return None
    place = shown(uri.rstrip("/"), uri)
    return f"{place}/#/experiments/{known.experiment_id}/runs/{row}"


def _make_experiment(client: MlflowClient, root: Path, name: str) -> Experiment:
    # The location is fixed at the first use: beside a local store, else the server's own.
    location = place_of(root, name) if sqlite_file(tracking_uri(root)) else None
    try:
        client.create_experiment(name, location, EXPERIMENT_TAGS)
    except MlflowException:
        if client.get_experiment_by_name(name) is None:  # else another client was first
            raise
    return client.get_experiment_by_name(name)


@contextmanager
def _turns(file: Path | None) -> Iterator[None]:
    if file is None:
        yield
        return
    with FileLock(file.with_name(f"{file.name}.lock"), timeout=LOCK_LIMIT_S):
        yield
