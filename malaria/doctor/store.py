"""The MLflow store: whether it opens, where its artifacts are, and runs that nobody will end."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Experiment, Run

# MLflow has no public function for these; pyproject.toml pins its version.
from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from sqlalchemy import NullPool, create_engine

from malaria import MLFLOW_CALL_LIMIT_S
from malaria.doctor.finding import Finding, one_line
from malaria.tracking.index import RUNNING, all_runs
from malaria.tracking.store import SQLITE, STAGE, shown_uri, tracking_uri, without_credentials

MIGRATIONS = Path(mlflow.__file__).parent / "store/db_migrations/versions"
DAY_S = 86_400
REBUILD = "move the store away and rebuild it with `uv run malaria sync`"
CHECK_ADDRESS = (
    "check MLFLOW_TRACKING_URI (a server or a database), MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD; stages run without the store, but log nothing"
)


def check_store(root: Path) -> Iterator[Finding]:
    """Give the findings on the store of the repository at `root`; nothing is made or changed."""
    uri, shown = tracking_uri(root), shown_uri(root)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        yield Finding("ok", f"{shown} does not exist yet; the first stage makes it")
        return
    try:
        if not uri.startswith("http") and (problem := _problem_of_tables(uri, shown)):
            yield problem
            return
        client = MlflowClient(uri)
        experiments = list(client.search_experiments())
        runs = list(all_runs(client, [experiment.experiment_id for experiment in experiments]))
    except Exception as error:  # of MLflow, requests, SQLAlchemy, or a driver that is missing
        reason = without_credentials(one_line(error))
        remedy = f"restore a copy, or {REBUILD}" if uri.startswith(SQLITE) else CHECK_ADDRESS
        yield Finding("fail", f"{shown} is not readable ({reason})", remedy)
        return
    yield Finding("ok", f"{shown} has {len(runs)} runs in {len(experiments)} experiments")
    yield from _check_artifacts(root, uri, experiments, runs)
    yield from _check_running(runs)


def _problem_of_tables(uri: str, shown: str) -> Finding | None:
    """Return why the installed MLflow cannot use a database; MLflow itself would change it."""
    arguments = {} if uri.startswith(SQLITE) else {"connect_timeout": MLFLOW_CALL_LIMIT_S}
    engine = create_engine(uri, connect_args=arguments, poolclass=NullPool)
    version, wanted = _get_schema_version(engine), _get_latest_schema_revision()
    if version == wanted:
        return None
    if version is None:
        found, remedy = "is not a database of MLflow", "set MLFLOW_TRACKING_URI, or move it away"
    elif any(MIGRATIONS.glob(f"{version}_*.py")):
        found = f"has the tables of an older MLflow ({version}, not {wanted})"
        remedy = f"copy it, then run `uv run mlflow db upgrade {shown}`"
    else:
        found = f"has the tables of a newer MLflow ({version}) than {mlflow.__version__}"
        remedy = "run `uv sync`, or set MLFLOW_TRACKING_URI to another store"
    return Finding("fail", f"{shown} {found}", remedy)


def _check_artifacts(
    root: Path, uri: str, experiments: Sequence[Experiment], runs: Sequence[Run]
) -> Iterator[Finding]:
    """Give the experiments with runs whose artifacts are not in a folder of the repository."""
    used = {run.info.experiment_id for run in runs}
    remedy = f"bring that folder back; if the repository was copied or moved, {REBUILD}"
    for experiment in experiments:
        if experiment.experiment_id not in used or not is_local_uri(experiment.artifact_location):
            continue
        folder = Path(local_file_uri_to_path(experiment.artifact_location))
        found = f"the artifacts of {experiment.name} are in {folder}"
        if not folder.is_dir():
            yield Finding("fail", f"{found}, which does not exist", remedy)
        elif uri.startswith(SQLITE) and not folder.resolve().is_relative_to(root.resolve()):
            yield Finding("warn", f"{found}, outside {root}", remedy)


def _check_running(runs: Sequence[Run]) -> Iterator[Finding]:
    """Give runs that are RUNNING for so long that their process was probably killed."""
    day_ago_ms = (time.time() - DAY_S) * 1000
    for run in runs:
        if run.info.status == RUNNING and run.info.start_time < day_ago_ms:
            run_id, stage = run.info.run_id, run.data.tags.get(STAGE)
            remedy = (
                "if its process was killed, `uv run dvc repro` resumes a training; delete other "
                f"runs with `uv run mlflow runs delete --run-id {run_id}`"
            )
            yield Finding("warn", f"{stage}'s run {run_id} is RUNNING for over a day", remedy)
