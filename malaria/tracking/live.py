"""A stage's run in MLflow, logged while the stage runs.

Nothing here can fail a stage: the first call that the store does not answer ends the
logging with a warning, and the stage continues.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from malaria.core.addresses import shown
from malaria.errors import MalariaError
from malaria.paths import LOCK
from malaria.pipeline.facts import StageFacts
from malaria.pipeline.history import open_files
from malaria.pipeline.identity import params_of
from malaria.pipeline.lock import Entry, LockedFile, read_entries, with_outs
from malaria.tracking.address import TRACKING_URI, reason_of, shown_uri
from malaria.tracking.clean_up import close_ended
from malaria.tracking.content import EPOCH, LIVE_ONLY, Point, read_content, resolved_params
from malaria.tracking.index import Index, StoredRun, stored
from malaria.tracking.models import model_of
from malaria.tracking.process import this_process
from malaria.tracking.rows import describe, is_evaluated, title
from malaria.tracking.runs import (
    Target,
    complete_row,
    complete_run,
    create,
    create_run,
    logged_epochs,
    relate_run,
    wait,
)
from malaria.tracking.store import UPLOAD_LIMIT_S, find_row, http_limit, open_store
from malaria.tracking.write import ERROR, OUT, PROCESS, RUN_OF, common_tags, log, row_tags


class StageRun:
    """The run of one stage, below the row of its experiment."""

    def __init__(
        self, facts: StageFacts, experiment: str, resumed: str = "", is_on: bool = True
    ) -> None:
        """`experiment` is MLflow's; `resumed` is the id of an interrupted run, '' for a new one.

        `is_on` is False in a process that helps another, which logs for both.
        """
        self.facts = facts
        self._experiment = experiment
        self._is_on = is_on
        self._target: Target
        self._run: StoredRun | None = None
        self._row: StoredRun
        self._steps: set[int] = set()  # epochs that are logged
        self._attempt(lambda: self._open(resumed))

    @property
    def run_id(self) -> str:
        """The run's id; '' if nothing is logged."""
        return self._run.run_id if self._run else ""

    def resolved(self, values: Mapping[str, Any]) -> None:
        """Log what training made of its params, before it begins."""
        self._attempt(lambda: self._log(params=resolved_params(values)))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log what cannot wait for the outputs (with the epoch as `step`), or is in none of them.

        The outputs have all other metrics, and those of an epoch too: give it the file's values.
        Raises ValueError for a metric without epoch that LIVE_ONLY does not name.
        """
        if not step and not values.keys() <= LIVE_ONLY:
            raise ValueError(f"{[*values]}: what an output has is logged at the end; see LIVE_ONLY")
        if step in self._steps:
            return
        points = [Point(name, value, step) for name, value in values.items() if name != EPOCH]
        self._attempt(lambda: self._log(points=points))
        if step:
            self._steps.add(step)

    def finish(self, folder: Path) -> None:
        """Close the run as FINISHED, with the content of the outputs in `folder`."""
        self._attempt(lambda: self._complete(folder), UPLOAD_LIMIT_S)

    def fail(self, reason: str, details: str, status: str = "FAILED") -> None:
        """Close the run as FAILED (or KILLED) with the reason and the traceback."""

        def close() -> None:
            client, runs = self._target.client, (self.run_id, self._row.run_id)
            secret = os.environ.get(TRACKING_URI, "")
            client.set_tag(self.run_id, ERROR, shown(reason, secret)[:5000])
            client.log_text(self.run_id, shown(details, secret), "traceback.txt")
            for run_id in runs:
                client.set_terminated(run_id, status)

        self._attempt(close, UPLOAD_LIMIT_S)

    def _attempt(self, call: Callable[[], object], limit_s: int | None = None) -> None:
        if not self._is_on:
            return
        try:
            with http_limit(limit_s):
                call()
        except Exception as error:
            self._is_on = False
            reason = f"{shown_uri(self.facts.repository)} failed ({reason_of(error)});"
            if isinstance(error, MalariaError):  # says what to do
                reason = str(error)
            print(
                f"mlflow: {reason} {self.facts.stage.name} continues and logs nothing more; `uv "
                "run malaria sync` adds it later.",
                file=sys.stderr,
            )

    def _open(self, resumed: str) -> None:
        facts = self.facts
        if facts.git_fault:
            told = f"{facts.git_fault} {facts.stage.name} is logged without its commit."
            print(f"mlflow: {told}", file=sys.stderr)
        client, experiment_id = open_store(facts.repository, self._experiment)
        self._target = Target(client, experiment_id, Index())
        row_id = find_row(client, experiment_id, facts.identity)
        self._row = stored(client.get_run(row_id)) if row_id else self._create_row()
        client.update_run(self._row.run_id, status="RUNNING")
        client.set_tag(self._row.run_id, PROCESS, this_process())
        if not (resumed and self._resume(resumed)):
            self._find_makers()
            tags = self._common_tags()
            self._run = create_run(self._target, facts.entry, self._row, _now_ms(), tags)
            self._log(params=facts.params)
        close_ended(client, [experiment_id])

    def _resume(self, run_id: str) -> bool:
        """Continue an interrupted run, if the store still has it."""
        client = self._target.client
        try:
            run = client.get_run(run_id)
        except MlflowException:
            return False
        if run.info.lifecycle_stage != "active":
            return False
        client.update_run(run_id, status="RUNNING")
        client.set_tag(run_id, PROCESS, this_process())
        if ERROR in run.data.tags:
            client.delete_tag(run_id, ERROR)
        self._run = stored(run)
        self._steps = logged_epochs(client, self._run)
        return True

    def _create_row(self) -> StoredRun:
        facts = self.facts
        params = params_of(facts.parts)
        note = ""
        if facts.commit:
            with open_files(facts.checkout) as files:
                note = describe(files, facts.entry.folder, facts.parts, facts.commit)
        name = title(params, facts.dvc_experiment, facts.identity)
        tags = self._common_tags() | row_tags(note)
        row = create(self._target, name, _now_ms(), tags)
        log(self._target.client, row.run_id, _now_ms(), params)
        return row

    def _find_makers(self) -> None:
        """Add the runs that made the stage's inputs to the index."""
        target, entry = self._target, self.facts.entry
        for dep in self._data():
            path = entry.place(dep.path)
            if target.index.maker_of(path, dep.md5) is None:
                found = target.client.search_runs(
                    [target.experiment_id],
                    f"tags.`{OUT}{path}` = '{dep.md5}' and attributes.status = 'FINISHED'",
                    max_results=1,
                )
                for run in found:
                    target.index.add(stored(run))

    def _complete(self, folder: Path) -> None:
        facts, client = self.facts, self._target.client
        entry = with_outs(facts.entry, facts.stage, folder)
        content = read_content(entry.outs, lambda out: folder / out.path)
        run, row = (stored(client.get_run(known)) for known in (self.run_id, self._row.run_id))
        complete_run(self._target, entry, self._data(), run, content, _now_ms(), {})
        relate_run(self._target, entry, run, row)
        tags = {f"{RUN_OF}{entry.stage}": run.run_id}
        model_id = model_of(self._target.index, [run])
        ended = _now_ms() if self._is_over(folder, entry) else None
        complete_row(self._target, row, {}, content, tags, model_id, ended)
        if ended is None:
            wait(self._target, row)

    def _is_over(self, folder: Path, entry: Entry) -> bool:
        """Return whether the experiment has its result; dvc.lock has the other stages."""
        lock = folder / LOCK
        known = read_entries(lock.read_bytes(), entry.folder, LOCK) if lock.is_file() else {}
        entries = {**known, entry.stage: entry}
        parts = self.facts.parts
        ours = {stage: entries[stage] for stage in parts if stage in entries}
        return is_evaluated(ours, parts)

    def _data(self) -> list[LockedFile]:
        """Return what the stage reads of other stages."""
        entry = self.facts.entry
        return [dep for dep in entry.deps if entry.place(dep.path) in self.facts.data]

    def _log(self, **values: Any) -> None:
        log(self._target.client, self.run_id, _now_ms(), **values)

    def _common_tags(self) -> dict[str, str]:
        facts = self.facts
        tags = common_tags(facts.identity, facts.entry.folder, facts.commit, facts.dvc_experiment)
        return tags | {PROCESS: this_process()}


def _now_ms() -> int:
    return int(time.time() * 1000)
