"""Closes the runs that killed processes left RUNNING, and deletes their half-written artifacts."""

from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from malaria.tracking.address import sqlite_file, tracking_uri
from malaria.tracking.index import FINISHED, IS_RUNNING, SCHEDULED, all_runs
from malaria.tracking.places import half_artifacts
from malaria.tracking.process import has_ended
from malaria.tracking.store import EXPERIMENT_ROW, STAGE, open_existing
from malaria.tracking.write import ERROR, PARENT

KILLED = "KILLED"
WAS_KILLED = "its process has ended without closing the run"


def clean_up(root: Path) -> list[str]:
    """Close what killed processes left RUNNING, delete half artifacts; return notes of the first.

    Nothing is done where there is no store.
    """
    file = sqlite_file(tracking_uri(root))
    if file is not None and not file.is_file():
        return []
    half = half_artifacts(root)  # before it is asked which runs are at work
    client = open_existing(root)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    closed = close_ended(client, ids)
    if file is not None and half:
        running = {run.info.run_id for run in all_runs(client, ids, IS_RUNNING)}
        for path in half:
            if not running.intersection(path.parts):
                path.unlink(missing_ok=True)
    return [
        f"the run {run.info.run_id} of {run.data.tags.get(STAGE)} was RUNNING, and is KILLED now: "
        f"{WAS_KILLED}."
        for run in closed
    ]


def close_ended(client: MlflowClient, experiment_ids: Sequence[str]) -> list[Run]:
    """Close runs and rows whose process has ended, for what they are; return the runs."""
    running = list(all_runs(client, experiment_ids, IS_RUNNING))
    runs = [run for run in running if run.data.tags.get(STAGE) != EXPERIMENT_ROW]
    ended = [run for run in runs if has_ended(run.data.tags)]
    for run in ended:
        client.set_tag(run.info.run_id, ERROR, WAS_KILLED)
        client.set_terminated(run.info.run_id, KILLED)
    closed = {run.info.run_id for run in ended}
    busy = {run.data.tags.get(PARENT) for run in runs if run.info.run_id not in closed}
    for row in running:
        is_row = row.data.tags.get(STAGE) == EXPERIMENT_ROW and row.info.run_id not in busy
        if is_row and has_ended(row.data.tags):
            status = _status_of(client, row)
            if status == SCHEDULED:
                client.update_run(row.info.run_id, status)
            else:
                client.set_terminated(row.info.run_id, status)
    return ended


def _status_of(client: MlflowClient, row: Run) -> str:
    """Return the status of a row, which is that of its last run.

    If that one finished, the row waits for a next stage, or for `malaria sync` to close it.
    """
    where = f"tags.`{PARENT}` = '{row.info.run_id}'"
    order = ["attributes.start_time DESC"]
    last = client.search_runs([row.info.experiment_id], where, max_results=1, order_by=order)
    status = str(last[0].info.status) if last else KILLED
    return SCHEDULED if status == FINISHED else status
