"""The MLflow store: whether it opens, where its artifacts are, and runs that nobody will end."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Experiment, Run

# MLflow has no public function for these; pyproject.toml pins its version.
from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from sqlalchemy import NullPool, create_engine

from malaria.doctor.finding import Finding
from malaria.tracking.address import limited, reason_of, shown_uri, sqlite_file, tracking_uri
from malaria.tracking.clean_up import WAS_KILLED
from malaria.tracking.index import RUNNING, all_runs
from malaria.tracking.places import folder_before, is_beside
from malaria.tracking.process import has_ended
from malaria.tracking.store import STAGE, about_deleted, connect, deleted_experiments

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
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        yield Finding("ok", f"{shown} does not exist yet; the first stage makes it")
        return
    try:
        if not uri.startswith("http") and (problem := _problem_of_tables(uri, shown)):
            yield problem
            return
        client = connect(uri)
        experiments = list(client.search_experiments())
        runs = list(all_runs(client, [experiment.experiment_id for experiment in experiments]))
    except Exception as error:  # of MLflow, requests, SQLAlchemy, or a driver that is missing
        reason = reason_of(error)
        remedy = f"restore a copy, or {REBUILD}" if file is not None else CHECK_ADDRESS
        if "database is locked" in reason:
            remedy = "end the program that holds it; stages run without the store, but log nothing"
        yield Finding("fail", f"{shown} is not readable ({reason})", remedy)
        return
    yield Finding("ok", f"{shown} has {len(runs)} runs in {len(experiments)} experiments")
    for experiment in deleted_experiments(client, root):
        found, _, remedy = about_deleted(experiment).partition("; ")
        yield Finding("fail", f"{found}, and stages log nothing to it", remedy)
    yield from _check_artifacts(root, file, experiments, runs)
    yield from _check_running(runs)


def _problem_of_tables(uri: str, shown: str) -> Finding | None:
    """Return why the installed MLflow cannot use a database; MLflow itself would change it."""
    engine = create_engine(limited(uri), poolclass=NullPool)
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
    root: Path, file: Path | None, experiments: Sequence[Experiment], runs: Sequence[Run]
) -> Iterator[Finding]:
    """Give the experiments with runs whose artifacts are not in a folder of the repository."""
    used = {run.info.experiment_id for run in runs}
    for experiment in experiments:
        if experiment.experiment_id not in used or not is_local_uri(experiment.artifact_location):
            continue
        folder = Path(local_file_uri_to_path(experiment.artifact_location))
        found = f"the artifacts of {experiment.name} are in {folder}"
        remedy = f"bring that folder back, or {REBUILD}"
        is_moved = folder_before(root, experiment.name, experiment.artifact_location)
        if is_moved and file is not None and is_beside(file, root):
            remedy = "if the repository was copied or moved, `uv run malaria sync` corrects that"
        if not folder.is_dir():
            yield Finding("fail", f"{found}, which does not exist", remedy)
        elif file is not None and not folder.resolve().is_relative_to(root.resolve()):
            yield Finding("warn", f"{found}, outside {root}", remedy)


def _check_running(runs: Sequence[Run]) -> Iterator[Finding]:
    """Give runs that are RUNNING although their process was killed, or probably was."""
    day_ago_ms = (time.time() - DAY_S) * 1000
    for run in runs:
        if run.info.status != RUNNING:
            continue
        run_id, stage = run.info.run_id, run.data.tags.get(STAGE)
        ended = has_ended(run.data.tags)
        if ended:
            found = f"{stage}'s run {run_id} is RUNNING, but {WAS_KILLED}"
            yield Finding("warn", found, "`uv run malaria sync` closes it")
        elif ended is None and run.info.start_time < day_ago_ms:
            remedy = (
                "if its process was killed, `uv run dvc repro` resumes a training; delete other "
                f"runs with `uv run mlflow runs delete --run-id {run_id}`"
            )
            yield Finding("warn", f"{stage}'s run {run_id} is RUNNING for over a day", remedy)
