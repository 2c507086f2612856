"""The MLflow store: where it is, how it is opened, and what a call to it may cost."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from malaria.errors import MalariaError

IDENTITY = "malaria.identity"
STAGE = "malaria.stage"
EXPERIMENT_ROW = "experiment"  # the stage tag of a parent run
UPLOAD_LIMIT_S = 60
SQLITE = "sqlite:///"
LOCK_LIMIT_S = 60
CREDENTIALS = re.compile(r"//[^/@\s]+@")  # user and password in an address
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


def without_credentials(text: str) -> str:
    """Return text without the users and passwords of the addresses in it."""
    return CREDENTIALS.sub("//", text)


def tracking_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the sqlite store at the repository's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{root / 'mlflow.db'}"


def shown_uri(root: Path) -> str:
    """Return the store's address without user and password."""
    return without_credentials(tracking_uri(root))


def open_store(root: Path, experiment: str) -> tuple[MlflowClient, str]:
    """Return a client and the id of the experiment, both made at first use.

    Processes that make the same sqlite store at once would break it, so they take turns.
    """
    uri = tracking_uri(root)
    with _turns(uri):
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            found = _make_experiment(client, root, experiment)
        for key, value in EXPERIMENT_TAGS.items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, value)
        return client, found.experiment_id


def open_existing(root: Path) -> MlflowClient:
    """Return a client of a store that is there; raises MalariaError where there is none yet."""
    uri = tracking_uri(root)
    existing_file(uri)
    return MlflowClient(uri)


def existing_file(uri: str) -> Path | None:
    """Return the file of a store that is one; raises MalariaError where there is none yet."""
    if not uri.startswith(SQLITE):
        return None
    file = Path(uri.removeprefix(SQLITE))
    if not file.is_file():
        raise MalariaError(
            f"there is no MLflow store at {file} yet; make it from Git and DVC's cache with "
            "`uv run malaria sync`."
        )
    return file


@contextmanager
def answering(root: Path) -> Iterator[None]:
    """Turn a failure of the store into one sentence; calls may take as long as uploads do."""
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with http_limit(UPLOAD_LIMIT_S):
            yield
    except (MlflowException, RequestException, SQLAlchemyError, TimeoutError) as error:
        reason = without_credentials(" ".join(str(error).split())[:300])
        raise MalariaError(
            f"the MLflow store {shown_uri(root)} failed ({reason}); {_remedy(error)}. What was "
            "done is kept, and the same command continues."
        ) from None


def _remedy(error: Exception) -> str:
    response = getattr(error, "response", None)  # of an upload, which MLflow does not translate
    code = response.status_code if response is not None else getattr(error, "error_code", None)
    if code in (401, "UNAUTHENTICATED"):
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user there"
    if code in (403, "PERMISSION_DENIED"):
        return "an admin or who made the experiment can give you EDIT on it (docs/team_server.md)"
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
    place = without_credentials(uri.rstrip("/"))
    return f"{place}/#/experiments/{known.experiment_id}/runs/{row}"


def _make_experiment(client: MlflowClient, root: Path, name: str) -> Experiment:
    # The location is fixed at the first use: beside a local store, else the server's own.
    is_local = tracking_uri(root).startswith("sqlite")
    location = (root / "mlartifacts" / name).as_uri() if is_local else None
    try:
        client.create_experiment(name, location, EXPERIMENT_TAGS)
    except MlflowException:
        if client.get_experiment_by_name(name) is None:  # else another client was first
            raise
    return client.get_experiment_by_name(name)


@contextmanager
def _turns(uri: str) -> Iterator[None]:
    if not uri.startswith(SQLITE):
        yield
        return
    path = Path(uri.removeprefix(SQLITE))
    with FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_LIMIT_S):
        yield
