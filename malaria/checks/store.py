"""The MLflow store: whether it opens, where its artifacts lie, and runs that nobody ends."""

from malaria.quiet_mlflow import CALL_LIMIT_S

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

import alembic.script
import mlflow
import psutil
import requests
import sqlalchemy
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from malaria.checks.finding import Finding, one_line
from malaria.index import all_runs
from malaria.logged import PARENT
from malaria.store import CREDENTIALS, STAGE, tracking_uri

STORE, ARTIFACTS, RUNS = "MLflow store", "artifacts", "runs"
MIGRATIONS = Path(mlflow.__file__).parent / "store/db_migrations"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
LISTED = 3  # ids in a line
HOUR_MS = 3_600_000
# From when on a run that is RUNNING is looked at. Processes are seen on this machine alone, so a
# server's runs get the time of a long training.
QUIET_MS = {"here": HOUR_MS, "server": 24 * HOUR_MS}
NO_ANSWER = (
    "see that it runs and who may use it (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD), or "
    "unset MLFLOW_TRACKING_URI: stages go on without it and log nothing"
)


def check_store(root: Path) -> Iterator[Finding]:
    """Give what is known of the store of the repository at `root`; nothing is made or changed."""
    uri = tracking_uri(root)
    found = _opens(uri)
    yield found
    if found.level == "fail" or _is_new(uri):
        return
    client = MlflowClient(uri)
    try:
        experiments = list(client.search_experiments())
        runs = list(all_runs(client, [found.experiment_id for found in experiments]))
    except (MlflowException, requests.RequestException) as error:
        reason = CREDENTIALS.sub("//", one_line(error))
        yield Finding("fail", RUNS, f"the store does not list them ({reason})", NO_ANSWER)
        return
    yield from _locations(root, uri, experiments, runs)
    yield from _orphans(runs)
    yield from _never_ended(root, uri, runs)


def _opens(uri: str) -> Finding:
    """Return whether the installed MLflow can use the store at this address."""
    shown = CREDENTIALS.sub("//", uri)
    if uri.startswith(("http://", "https://")):
        return _server(uri, shown)
    if not uri.startswith(DATABASES):
        return Finding(
            "fail",
            STORE,
            f"MLFLOW_TRACKING_URI is {shown}, which is neither a server nor a database",
            "unset it, or name one, as in sqlite:///mlflow.db",
        )
    if _is_new(uri):
        return Finding("ok", STORE, f"{shown} is not there yet; the first stage makes it")
    try:
        version = _schema(uri)
    except (SQLAlchemyError, ImportError) as error:
        return Finding(
            "fail",
            STORE,
            f"{shown} cannot be read as a database ({one_line(error)})",
            "bring it back from a copy, or move it away and let `uv run malaria sync` make its "
            "runs again"
            if uri.startswith("sqlite")
            else NO_ANSWER,
        )
    scripts = alembic.script.ScriptDirectory(str(MIGRATIONS))
    wanted = scripts.get_current_head()
    known = {script.revision for script in scripts.walk_revisions()}
    if version == wanted:
        return Finding("ok", STORE, f"{shown} has the tables of MLflow {mlflow.__version__}")
    if version is None:
        return Finding(
            "fail",
            STORE,
            f"{shown} is a database, but none of MLflow's",
            "name another in MLFLOW_TRACKING_URI, or move it away",
        )
    if version in known:
        return Finding(
            "fail",
            STORE,
            f"{shown} has the tables of an older MLflow ({version}, not {wanted})",
            f"copy it, then `uv run mlflow db upgrade {shown}`",
        )
    return Finding(
        "fail",
        STORE,
        f"{shown} has the tables {version}, which MLflow {mlflow.__version__} does not know: a "
        "newer one made them",
        "take the MLflow of pyproject.toml with `uv sync`, or a store of its own",
    )


def _server(uri: str, shown: str) -> Finding:
    try:
        answer = requests.get(f"{uri.rstrip('/')}/version", timeout=CALL_LIMIT_S)
    except requests.RequestException as error:
        reason = CREDENTIALS.sub("//", one_line(error))
        return Finding("fail", STORE, f"{shown} does not answer ({reason})", NO_ANSWER)
    if answer.status_code in (401, 403):  # what its runs are asked with has the user's name
        return Finding("ok", STORE, f"{shown} answers, and asks who is there")
    version = answer.text.strip()
    if answer.status_code != 200 or not version[:1].isdigit():
        said = f"{shown} answers {answer.status_code}, not as an MLflow server"
        return Finding("fail", STORE, said, "correct MLFLOW_TRACKING_URI")
    said = f"{shown} runs MLflow {version}"
    if version == mlflow.__version__:
        return Finding("ok", STORE, said)
    return Finding(
        "warn",
        STORE,
        f"{said}, here it is {mlflow.__version__}",
        "let both be of one version, so that none misses what the other calls",
    )


def _is_new(uri: str) -> bool:
    """Return whether the address is that of a sqlite file which is not there."""
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def _schema(uri: str) -> str | None:
    """Return the version of a database's tables, None where they are not MLflow's."""
    arguments = {} if uri.startswith("sqlite") else {"connect_timeout": CALL_LIMIT_S}
    engine = sqlalchemy.create_engine(uri, connect_args=arguments)
    with closing(engine.connect()) as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return None
        return connection.scalar(sqlalchemy.text("select version_num from alembic_version"))


def _locations(
    root: Path, uri: str, experiments: list[Experiment], runs: list[Run]
) -> Iterator[Finding]:
    """Give the experiments whose artifacts do not lie, or will not, where they are looked for."""
    with_runs = {run.info.experiment_id for run in runs}
    remedy = (
        "bring that folder back; where the repository was copied or moved, move the store away "
        "and let `uv run malaria sync` make its runs again here"
    )
    faults = []
    for experiment in experiments:
        folder = _local(experiment.artifact_location)
        if folder is None or experiment.experiment_id not in with_runs:
            continue
        name = f"the artifacts of {experiment.name} lie in {folder}"
        if not folder.is_dir():
            faults.append(Finding("fail", ARTIFACTS, f"{name}, which is not there", remedy))
        elif uri.startswith("sqlite") and not folder.resolve().is_relative_to(root.resolve()):
            faults.append(Finding("warn", ARTIFACTS, f"{name}, outside of {root}", remedy))
    yield from faults
    if not faults:
        yield Finding("ok", ARTIFACTS, f"those of {len(with_runs)} experiments are in place")


def _local(location: str) -> Path | None:
    """Return the folder on this machine that an artifact location names, if it names one."""
    parts = urlparse(location)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _orphans(runs: list[Run]) -> Iterator[Finding]:
    known = {run.info.run_id for run in runs}
    orphans = [run for run in runs if run.data.tags.get(PARENT, run.info.run_id) not in known]
    if orphans:
        yield Finding(
            "warn",
            RUNS,
            f"{len(orphans)} belong to a parent that was deleted ({_ids(orphans)})",
            "bring the parent back in the UI, or delete them with `uv run mlflow runs delete "
            "--run-id <id>`",
        )
    else:
        yield Finding("ok", RUNS, f"all of {len(runs)} have their parent, or are one")


def _never_ended(root: Path, uri: str, runs: list[Run]) -> Iterator[Finding]:
    """Give runs that are RUNNING, though nothing runs that could end them."""
    is_server = uri.startswith("http")
    if not is_server and _stage_runs(root):
        return
    begun = time.time() * 1000 - QUIET_MS["server" if is_server else "here"]
    waiting = [run for run in runs if run.info.status == "RUNNING" and run.info.start_time < begun]
    if waiting:
        stages = sorted({run.data.tags.get(STAGE, "unknown") for run in waiting})
        where = "for more than a day" if is_server else "but no stage runs on this machine"
        yield Finding(
            "warn",
            RUNS,
            f"{len(waiting)} are RUNNING, {where}: {', '.join(stages)} ({_ids(waiting)})",
            "`uv run dvc repro` goes on with a training that was killed; delete others with `uv "
            "run mlflow runs delete --run-id <id>`",
        )


def _stage_runs(root: Path) -> bool:
    """Return whether a process of this machine runs a stage of the repository."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command, folder = process.info["cmdline"] or [], process.info["cwd"]
        is_stage = any(part.endswith(".py") and "stages/" in part for part in command)
        if is_stage and folder and Path(folder).is_relative_to(root):
            return True
    return False


def _ids(runs: list[Run]) -> str:
    ids = [run.info.run_id for run in runs[:LISTED]]
    return ", ".join(ids) + (", ..." if len(runs) > LISTED else "")
