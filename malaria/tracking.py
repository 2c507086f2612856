"""A stage's run in MLflow, logged while the stage runs.

Nothing here can fail a stage: the first call that the store does not answer ends the
logging with a warning, and the stage goes on.
"""

import malaria.quiet_mlflow  # noqa: F401

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from malaria.entry import Entry, LockedFile
from malaria.logged import (
    LOCK_FILE,
    MADE_BY,
    OUT,
    RUN_OF,
    common_tags,
    log,
    log_files,
    log_inputs,
    out_tags,
    row_tags,
    stage_tags,
    table_tags,
)
from malaria.logged_model import log_model
from malaria.record import LIVE_ALONE, Point, Told, resolved_params, tell
from malaria.store import CREDENTIALS, UPLOAD_LIMIT_S, find_row, http_limit, open_store, shown_uri

ERROR = "malaria.error"


@dataclass(frozen=True)
class Context:
    """What a run says of the stage and of the pipeline that it belongs to."""

    entry: Entry  # as dvc.lock will have it, the outputs being still unknown
    root: Path  # the main repository, also from a temporary checkout
    experiment: str
    identity: str
    params: Mapping[str, Any]  # flattened, of all stages
    stage_params: Mapping[str, Any]  # flattened, of this stage
    code: Mapping[str, str]  # md5 by path in the repository
    data: Mapping[str, str]  # md5 by path in the repository, of what other stages made
    key: str  # of all that defines what the stage does: params, code, data, versions
    checkpoints: Path  # the folder for a training's
    commit: str
    dirty: bool
    dvc_experiment: str | None
    title: str
    describe: Callable[[], str]  # what is new in the experiment, in Markdown
    continues: str  # a run that was killed and goes on; '' for a new one


class StageRun:
    """The run of one stage, below the parent run of its experiment."""

    def __init__(self, context: Context, is_on: bool = True) -> None:
        """`is_on` is False in a process that helps another, which logs for both."""
        self.context = context
        self._is_on = is_on
        self._client: MlflowClient
        self._run_id = ""
        self._parent_id = ""
        self._steps: set[int] = set()  # epochs that are logged
        self._attempt(self._open)

    @property
    def run_id(self) -> str:
        """The run's id; '' where nothing is logged."""
        return self._run_id

    def resolved(self, values: Mapping[str, Any]) -> None:
        """Log what training made of its params, before it begins."""
        params = resolved_params(values)
        self._attempt(lambda: log(self._client, self._run_id, _now_ms(), params))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log what cannot wait for the outputs (with the epoch as `step`), or is in none of them.

        The outputs tell all other metrics, and an epoch's again: give it the values of the file.
        Raises ValueError for a metric without epoch that LIVE_ALONE does not name.
        """
        if not step and not values.keys() <= LIVE_ALONE:
            raise ValueError(
                f"{[*values]}: what an output tells is logged at the end; see LIVE_ALONE"
            )
        if step in self._steps:
            return
        points = [Point(name, value, step) for name, value in values.items()]
        self._attempt(lambda: log(self._client, self._run_id, _now_ms(), points=points))
        if step:
            self._steps.add(step)

    def finish(self, entry: Entry, folder: Path) -> None:
        """Close the run as FINISHED, with all that the outputs in `folder` tell.

        `entry` is the context's, with its outputs.
        """
        self._attempt(lambda: self._log_outs(entry, folder), UPLOAD_LIMIT_S)
        self._attempt(lambda: self._close("FINISHED"))

    def fail(self, reason: str, details: str, status: str = "FAILED") -> None:
        """Close the run as FAILED (or KILLED) with the reason and the traceback."""
        self._attempt(lambda: self._client.set_tag(self._run_id, ERROR, reason[:5000]))
        self._attempt(
            lambda: self._client.log_text(self._run_id, details, "traceback.txt"), UPLOAD_LIMIT_S
        )
        self._attempt(lambda: self._close(status))

    def _attempt(self, call: Callable[[], object], limit_s: int | None = None) -> None:
        if not self._is_on:
            return
        try:
            with http_limit(limit_s):
                call()
        except Exception as error:
            self._is_on = False
            reason = " ".join(str(error).split())[:300]
            sentence = (
                f"mlflow: {shown_uri(self.context.root)} failed ({reason}); "
                f"{self.context.entry.stage} goes on and logs nothing more, which `uv run malaria "
                "sync` can make up for."
            )
            print(CREDENTIALS.sub("//", sentence), file=sys.stderr)

    def _open(self) -> None:
        context, entry = self.context, self.context.entry
        self._client, experiment_id = open_store(context.root, context.experiment)
        self._parent_id = find_row(self._client, experiment_id, context.identity) or self._make_row(
            experiment_id
        )
        self._client.update_run(self._parent_id, status="RUNNING")
        if context.continues and self._continue(context.continues):
            return
        data = [dep for dep in entry.deps if entry.place(dep.path) in context.data]
        tags = self._common_tags() | stage_tags(entry, self._parent_id)
        tags |= dict(self._makers(experiment_id, data))
        run = self._client.create_run(experiment_id, run_name=entry.stage, tags=tags)
        self._run_id = run.info.run_id
        log(self._client, self._run_id, _now_ms(), context.stage_params)
        log_inputs(self._client, self._run_id, entry, data)

    def _continue(self, run_id: str) -> bool:
        """Go on with a run that was killed, if the store still has it."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return False
        if run.info.lifecycle_stage != "active":
            return False
        self._client.update_run(run_id, status="RUNNING")
        if ERROR in run.data.tags:
            self._client.delete_tag(run_id, ERROR)
        self._run_id = run_id
        epochs = self._client.get_metric_history(run_id, "epoch")
        self._steps = {metric.step for metric in epochs}
        return True

    def _make_row(self, experiment_id: str) -> str:
        context = self.context
        tags = self._common_tags() | row_tags(context.describe())
        run = self._client.create_run(experiment_id, run_name=context.title, tags=tags)
        log(self._client, run.info.run_id, _now_ms(), context.params)
        return str(run.info.run_id)

    def _common_tags(self) -> dict[str, str]:
        context = self.context
        return common_tags(
            context.identity,
            context.entry.folder,
            context.commit,
            context.dirty,
            context.dvc_experiment,
        )

    def _makers(self, experiment_id: str, data: list[LockedFile]) -> Iterator[tuple[str, str]]:
        """Give a tag for each input that tells which run made it, as far as runs are known."""
        known: list[tuple[str, Mapping[str, str]]] = []
        for dep in data:
            path = self.context.entry.place(dep.path)
            key = f"{OUT}{path}"
            if not any(tags.get(key) == dep.md5 for _, tags in known):
                found = self._client.search_runs(
                    [experiment_id],
                    f"tags.`{key}` = '{dep.md5}' and attributes.status = 'FINISHED'",
                    max_results=1,
                )
                known += [(run.info.run_id, run.data.tags) for run in found]
            for run_id, tags in known:
                if tags.get(key) == dep.md5:
                    yield f"{MADE_BY}{path}", run_id
                    break

    def _log_outs(self, entry: Entry, folder: Path) -> None:
        told = tell(entry.outs, lambda out: folder / out.path)
        client, run_id = self._client, self._run_id
        points = [point for point in told.points if not (point.step and point.step in self._steps)]
        log(client, run_id, _now_ms(), told.params, points)
        log_files(client, run_id, told.files, told.tables, {LOCK_FILE: entry.text()})
        for model in told.models:
            run = client.get_run(run_id)
            log_model(client, run, model, run.data.params)
        self._show_on_row(told)
        log(client, run_id, _now_ms(), tags=table_tags(told.tables, {}) | out_tags(entry))

    def _show_on_row(self, told: Told) -> None:
        tags = {f"{RUN_OF}{self.context.entry.stage}": self._run_id}
        log(self._client, self._parent_id, _now_ms(), points=told.headline, tags=tags)
        log_files(self._client, self._parent_id, told.on_row)

    def _close(self, status: str) -> None:
        for run_id in (self._run_id, self._parent_id):
            self._client.set_terminated(run_id, status)


def _now_ms() -> int:
    return int(time.time() * 1000)
