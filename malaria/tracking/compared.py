"""What `malaria compare` reads of a run in MLflow, and the page that it leaves there."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from malaria import paths
from malaria.core.yaml_files import dump_yaml, find_mapping, read_yaml
from malaria.errors import MalariaError
from malaria.pipeline.history import open_files, read_states, select, worktree
from malaria.pipeline.lock import SCHEMA
from malaria.tracking.address import reason_of
from malaria.tracking.content import artifact
from malaria.tracking.rows import row_of
from malaria.tracking.store import (
    EXPERIMENT_ROW,
    STAGE,
    UPLOAD_LIMIT_S,
    answering,
    find_row,
    http_limit,
    open_existing,
)
from malaria.tracking.write import DVC_EXPERIMENT, FOLDER, LOCK_FILE, PARENT, RUN_OF

READ = (paths.PREDICTIONS, paths.METRICS, paths.HISTORY)
PLACE = "compare"  # the folder of a row's artifacts that has the pages


@dataclass(frozen=True)
class ComparedRun:
    """An experiment's row, with the files that its stages' runs have as artifacts."""

    name: str
    run_id: str
    params: Mapping[str, str]
    files: Mapping[str, bytes]  # by their path in the pipeline's folder


def find_run(root: Path, run_id: str) -> ComparedRun | None:
    """Return the row with this id, or that of the stage's run with it; None if there is none.

    Raises MalariaError if the store does not answer.
    """
    with answering(root):
        client = open_existing(root)
        try:
            run = client.get_run(run_id)
            row = client.get_run(run.data.tags.get(PARENT, run_id))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        files: dict[str, bytes] = {}
        entries: dict[str, Any] = {}
        for id_ in (row.info.run_id, *_runs_of(row)):
            for path, content in _artifacts(client, id_):
                if path == paths.LOCK:
                    entries |= find_mapping(content) or {}
                else:
                    files[path] = content
        if entries:
            files[paths.LOCK] = dump_yaml({"schema": SCHEMA, "stages": entries}).encode()
    name = str(row.info.run_name)
    return ComparedRun(name, row.info.run_id, dict(row.data.params), files)


def log_page(
    root: Path, folder: str, page: Path, *, run_id: str, experiment: str, commit: str
) -> str | None:
    """Add a page to a row's artifacts; return the row's name, None if the store has no such row.

    The row is that of `run_id`, of the kept DVC `experiment`, or of the lock at a `commit`, the
    first that is not ''; else of the work tree's lock. A store that does not answer is told on
    stderr; the page is there anyway.
    """
    try:
        with http_limit(UPLOAD_LIMIT_S):
            client = open_existing(root)
            row = run_id or _find_row(client, root, folder, experiment, commit)
            if row is None:
                return None
            client.log_artifact(row, str(page), PLACE)
            return str(client.get_run(row).info.run_name)
    except Exception as error:  # whatever the client raises
        reason = str(error) if isinstance(error, MalariaError) else reason_of(error)
        print(f"compare: the page is not logged to MLflow ({reason})", file=sys.stderr)
        return None


def _find_row(
    client: MlflowClient, root: Path, folder: str, experiment: str, commit: str
) -> str | None:
    known = client.get_experiment_by_name(
        read_yaml(root / folder / paths.PARAMS)["mlflow"]["experiment"]
    )
    if known is None:
        return None
    if not experiment:
        identity = _identity_at(root, folder, commit)
        return find_row(client, known.experiment_id, identity) if identity else None
    wanted = {STAGE: EXPERIMENT_ROW, DVC_EXPERIMENT: experiment, FOLDER: folder}
    where = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
    found = client.search_runs([known.experiment_id], where, max_results=1)
    return str(found[0].info.run_id) if found else None


def _identity_at(root: Path, folder: str, commit: str) -> str | None:
    """Return the identity of the experiment that the folder's lock records."""
    with open_files(root) as files:
        revisions = select(root, commit, False, False) if commit else [worktree(root)]
        for state in read_states(files, revisions, []):
            if state.folder == folder:
                row = row_of(state, files)
                return row.identity if row else None
    return None


def _runs_of(row: Run) -> list[str]:
    """Return the runs whose results a row shows."""
    return [run for key, run in row.data.tags.items() if key.startswith(RUN_OF)]


def _artifacts(client: MlflowClient, run_id: str) -> Iterator[tuple[str, bytes]]:
    """Give those artifacts of a run that are compared, by their path in the pipeline's folder."""
    wanted = {artifact(path): path for path in READ} | {LOCK_FILE: paths.LOCK}
    there = {item.path for item in client.list_artifacts(run_id)}
    with tempfile.TemporaryDirectory() as scratch:
        for name in wanted.keys() & there:
            file = Path(client.download_artifacts(run_id, name, scratch))
            yield wanted[name], file.read_bytes()
