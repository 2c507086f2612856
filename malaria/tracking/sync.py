"""Completes MLflow's store from Git, dvc.lock and DVC's cache.

Each entry of a lock gets the run that it lacks, and each experiment its row, with the names and
values of live logging. What was rebuilt has the tag `malaria.rebuilt`; it starts and ends at the
time of the commit that first brought its entry. Outputs that the cache lacks are listed in the tag
`malaria.missing`, and a later call adds them.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from malaria.errors import MalariaError
from malaria.params import is_experiment
from malaria.paths import PIPELINES
from malaria.pipeline.cache import Outputs
from malaria.pipeline.git import is_shallow
from malaria.pipeline.history import Files, Revision, State, history, open_files, read_states
from malaria.pipeline.lock import Entry, LockedFile
from malaria.tracking.address import shown_uri
from malaria.tracking.clean_up import clean_up
from malaria.tracking.content import RunContent, is_on_row, read_content
from malaria.tracking.index import FINISHED, RUNNING, StoredRun, read_index
from malaria.tracking.kept import complete_kept, kept_runs
from malaria.tracking.models import model_of
from malaria.tracking.process import has_ended
from malaria.tracking.rows import ExperimentRow, describe, row_of, title
from malaria.tracking.runs import (
    Target,
    complete_row,
    complete_run,
    create,
    create_run,
    relate_run,
    wait,
)
from malaria.tracking.store import LOCK_LIMIT_S, answering, open_store
from malaria.tracking.sync_result import NOT_CACHED, Skipped, SyncResult
from malaria.tracking.write import (
    DVC_EXPERIMENT,
    MISSING,
    PROCESS,
    REBUILT,
    RUN_OF,
    common_tags,
    out_tags,
    row_tags,
)

DEFAULT_EXPERIMENT = "malaria"  # of a revision whose params.yaml names none that can be


def sync(root: Path, revisions: Sequence[Revision]) -> SyncResult:
    """Complete the store for the locks of all folders at the revisions.

    Raises MalariaError for what a user can fix: a lock of the work tree, a store that fails.
    """
    result = SyncResult(shown_uri(root))
    with answering(root), _alone(root), open_files(root) as files:
        if is_shallow(root):
            result.notes.append(
                "the clone is shallow: times may be those of its oldest commit; run `git fetch "
                "--unshallow` before the first sync."
            )
        states = read_states(files, revisions, result.notes)
        experiments = [(state, row) for state in states if (row := row_of(state, files))]
        syncing = _Syncing(files, states, result)
        experiments.sort(key=lambda pair: syncing.completed_at(pair[1]).order)
        total = sum(len(row.entries) for _, row in experiments)
        with tqdm(total=total, unit="run", desc="sync", disable=None) as bar:
            for state, row in experiments:
                syncing.sync_experiment(state, row)
                bar.update(len(row.entries))
        for worktree in (revision for revision in revisions if revision.is_worktree):
            for folder in PIPELINES:
                syncing.sync_kept(worktree, folder)
        result.notes += clean_up(root)
    return result


class _Syncing:
    """One call: what the revisions hold, and where it goes."""

    def __init__(self, files: Files, states: Sequence[State], result: SyncResult) -> None:
        self._files = files
        self._result = result
        self._outputs = Outputs(files)
        self._targets: dict[str, Target] = {}
        self._seen: set[str] = set()  # ids of runs that are done
        # By an entry's digest: the revisions that have it, the first of them in all history, and
        # what the stage read of other stages.
        self._revisions: dict[str, list[Revision]] = {}
        self._first = _first_revisions(files, states)
        self._data: dict[str, list[LockedFile]] = {}
        for state in states:
            made = {out.path for entry in state.entries.values() for out in entry.outs}
            for entry in state.entries.values():
                self._revisions.setdefault(entry.digest, []).extend(state.revisions)
                self._data[entry.digest] = [dep for dep in entry.deps if dep.path in made]

    def completed_at(self, row: ExperimentRow) -> Revision:
        """Return the revision that completed an experiment: the last one to bring an entry."""
        found = (self._first[entry.digest] for entry in row.entries.values())
        return max(found, key=lambda revision: revision.order)

    def sync_experiment(self, state: State, experiment: ExperimentRow) -> None:
        """Complete the row of an experiment and the runs below it."""
        target = self._target(state.revisions[-1], state.folder)
        row = target.index.row_of(experiment.identity)
        is_new = row is None
        row = row or self._create_row(target, state, experiment)
        runs = {
            entry.stage: self._sync_run(target, entry, experiment, row)
            for entry in _in_order(experiment.entries)
        }
        is_more = self._complete_row(target, state, experiment, row, runs)
        self._result.rows.count(is_new, is_more)

    def sync_kept(self, worktree: Revision, folder: str) -> None:
        """Complete the rows of what a folder of the work tree keeps of other runs."""
        root = self._files.root
        if kept := [*kept_runs(root, folder)]:
            target = self._target(worktree, folder)
            complete_kept(root, target, folder, kept, self._result.rows)

    def _create_row(self, target: Target, state: State, experiment: ExperimentRow) -> StoredRun:
        first = self.completed_at(experiment)
        name = title(experiment.params, state.experiment, experiment.identity)
        note = describe(self._files, experiment.folder, experiment.parts, first.parent)
        tags = self._rebuilt_tags(experiment, first) | row_tags(note)
        return create(target, name, first.time_ms, tags)

    def _complete_row(
        self,
        target: Target,
        state: State,
        experiment: ExperimentRow,
        row: StoredRun,
        runs: dict[str, StoredRun],
    ) -> bool:
        """Add to a row what it lacks of its runs' results; return whether there was any."""
        content = RunContent()
        missing = _missing(row)
        with tempfile.TemporaryDirectory() as scratch:
            for stage, entry in experiment.entries.items():
                outs = [out for out in entry.outs if is_on_row(out.path)]
                if row.tags.get(f"{RUN_OF}{stage}") == runs[stage].run_id:
                    outs = [out for out in outs if out.path in missing]
                content.add(self._read(entry, outs, Path(scratch)))
            tags = {f"{RUN_OF}{stage}": run.run_id for stage, run in runs.items()}
            if state.experiment and DVC_EXPERIMENT not in row.tags:
                tags[DVC_EXPERIMENT] = state.experiment
            model_id = model_of(target.index, runs.values())
            is_live = _is_live(row)
            is_over = experiment.is_evaluated and not is_live
            ended = max(run.start_ms for run in runs.values()) if is_over else None
            params = experiment.params
            is_more = complete_row(target, row, params, content, tags, model_id, ended)
            return (not is_over and not is_live and wait(target, row)) or is_more

    def _sync_run(
        self, target: Target, entry: Entry, experiment: ExperimentRow, row: StoredRun
    ) -> StoredRun:
        """Return the run of an entry, after it was created or completed."""
        run = target.index.run_of(entry)
        if run is not None and run.run_id in self._seen:
            return run  # several experiments share it
        is_new = run is None or run.status != FINISHED
        live = _find_live(target, entry, run)
        if live is not None:
            self._result.notes.append(
                f"{entry.stage} of {entry.folder} runs at this moment (run {live.run_id}) and logs "
                "itself; sync again if it does not end well."
            )
            return live
        missing = _missing(run) if run else []
        outs = entry.outs if is_new else [out for out in entry.outs if out.path in missing]
        first = self._first[entry.digest]
        is_more = False
        with tempfile.TemporaryDirectory() as scratch:
            content = self._read(entry, outs, Path(scratch))
            run = run or self._find_interrupted(target, entry, content)
            if run is None:
                tags = self._rebuilt_tags(experiment, first) | out_tags(entry)
                run = create_run(target, entry, row, first.time_ms, tags)
            if is_new or content.missing != missing:
                data, tags = self._data[entry.digest], {REBUILT: "true"}
                complete_run(target, entry, data, run, content, first.time_ms, tags)
                is_more = True
        is_more |= relate_run(target, entry, run, row)
        self._seen.add(run.run_id)
        self._result.runs.count(is_new, is_more)
        self._name_skipped(entry, run, content)
        return run

    def _find_interrupted(
        self, target: Target, entry: Entry, content: RunContent
    ) -> StoredRun | None:
        """Return a live run that never ended and whose epochs are those of the history."""
        epochs = {(point.step, point.value) for point in content.points if point.name == "val_loss"}
        for run in target.index.interrupted(entry):
            if PROCESS in run.tags and not has_ended(run.tags):
                continue  # on another machine, perhaps
            logged = target.client.get_metric_history(run.run_id, "val_loss")
            if {(metric.step, metric.value) for metric in logged} <= epochs:
                return run
        return None

    def _read(self, entry: Entry, outs: Sequence[LockedFile], scratch: Path) -> RunContent:
        revisions = self._revisions[entry.digest]
        return read_content(outs, lambda out: self._outputs.find(out, entry, revisions, scratch))

    def _name_skipped(self, entry: Entry, run: StoredRun, content: RunContent) -> None:
        stages = self._files.stages(self._revisions[entry.digest][0], entry.folder)
        cached = stages[entry.stage].cached if entry.stage in stages else []
        reasons = {
            path: NOT_CACHED if path in cached else "not in Git with the lock's MD5"
            for path in content.missing
        }
        reasons |= {path: f"of another schema ({why})" for path, why in content.strange.items()}
        self._result.skipped += [
            Skipped(entry.place(path), entry.stage, run.run_id, reason)
            for path, reason in reasons.items()
        ]

    def _target(self, revision: Revision, folder: str) -> Target:
        """Return the experiment in MLflow that the revision's params.yaml names."""
        params = self._files.params(revision, folder)
        named = (params.get("mlflow") or {}).get("experiment")
        name = str(named) if is_experiment(named) else DEFAULT_EXPERIMENT
        if name not in self._targets:
            client, experiment_id = open_store(self._files.root, name)
            index = read_index(client, [experiment_id])
            self._targets[name] = Target(client, experiment_id, index)
        return self._targets[name]

    def _rebuilt_tags(self, experiment: ExperimentRow, first: Revision) -> dict[str, str]:
        identity, folder = experiment.identity, experiment.folder
        return common_tags(identity, folder, first.commit, first.experiment) | {REBUILT: "true"}


def _first_revisions(files: Files, states: Sequence[State]) -> dict[str, Revision]:
    """Return the first revision of each entry, by its digest: the work tree if no commit has it."""
    chosen = [revision for state in states for revision in state.revisions]
    found: dict[str, Revision] = {}
    for state in [*read_states(files, history(files.root, chosen), []), *states]:
        for revision in state.revisions:
            for entry in state.entries.values():
                before = found.setdefault(entry.digest, revision)
                if revision.order < before.order:
                    found[entry.digest] = revision
    return found


def _in_order(entries: dict[str, Entry]) -> Iterator[Entry]:
    """Give the entries so that each comes after those whose outputs it read."""
    maker = {out.path: stage for stage, entry in entries.items() for out in entry.outs}
    above = {
        stage: {maker[dep.path] for dep in entry.deps if dep.path in maker}
        for stage, entry in entries.items()
    }
    try:
        yield from (entries[stage] for stage in TopologicalSorter(above).static_order())
    except CycleError:  # no pipeline of DVC is one
        yield from entries.values()


def _missing(run: StoredRun) -> list[str]:
    """Return the outputs that a run lacks."""
    return [path for path in run.tags.get(MISSING, "").split(", ") if path]


def _is_live(run: StoredRun) -> bool:
    """Return whether a stage logs to a run or row at this moment, as far as that can be known."""
    return run.status == RUNNING and has_ended(run.tags) is False


def _find_live(target: Target, entry: Entry, run: StoredRun | None) -> StoredRun | None:
    """Return the run of a stage that is leaving an entry which has no finished run yet."""
    if run is not None and run.status == FINISHED:
        return None
    return next(filter(_is_live, [*([run] if run else []), *target.index.interrupted(entry)]), None)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Make other calls on this repository wait, so that no run is made twice."""
    try:
        with FileLock(root / "mlflow.db-sync.lock", timeout=LOCK_LIMIT_S):
            yield
    except Timeout:
        raise MalariaError(
            f"another `malaria sync` has worked on {root} for more than {LOCK_LIMIT_S} s; wait "
            "until it has ended."
        ) from None
