"""MLflow's store made complete from Git, dvc.lock and DVC's cache.

Each entry of a lock gets the run that it lacks, and each experiment its row, with the names and
values of live logging. What was rebuilt says so (`malaria.rebuilt`); it starts and ends at the
time of the commit that first brought its entry. What the cache could not give stays noted as
`malaria.missing`, and a later call adds it.
"""

import malaria.quiet_mlflow  # noqa: F401

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from malaria.entry import Entry, LockedFile
from malaria.errors import MalariaError
from malaria.index import FINISHED, Known, read_index
from malaria.logged import DVC_EXPERIMENT, RUN_OF, common_tags
from malaria.outputs import Outputs
from malaria.pipeline import METRICS
from malaria.rebuild import (
    MISSING,
    Origin,
    Target,
    make_row,
    make_run,
    relate_run,
    write_row,
    write_run,
)
from malaria.record import ON_ROW, Told, tell
from malaria.revisions import is_shallow
from malaria.rows import Row, describe, rows_of, title
from malaria.states import Files, Revision, State, history, is_dirty, open_files, read_states
from malaria.store import LOCK_LIMIT_S, answering, open_store, shown_uri

SHARED = {*ON_ROW, METRICS}  # the outputs that a row shows
NOT_CACHED = "not in DVC's cache"
DEFAULT_EXPERIMENT = "malaria"  # of a revision whose params.yaml names none


@dataclass(frozen=True)
class LeftOut:
    """An output that a run should tell of and that could not be read."""

    path: str  # from the repository's root
    stage: str
    run_id: str
    reason: str


@dataclass
class Done:
    """How many runs or rows were there, were made, and had something added."""

    complete: int = 0
    made: int = 0
    completed: int = 0

    @property
    def all(self) -> int:
        """How many there are now."""
        return self.complete + self.made + self.completed


@dataclass
class Synced:
    """What a call has done."""

    store: str
    runs: Done = field(default_factory=Done)
    rows: Done = field(default_factory=Done)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sync(root: Path, revisions: Sequence[Revision]) -> Synced:
    """Make the store complete for the locks of all folders at the revisions.

    Raises MalariaError for what a user can mend: a lock of the work tree, a store that fails.
    """
    synced = Synced(shown_uri(root))
    with _alone(root), open_files(root) as files, answering(root):
        states = read_states(files, revisions, synced.notes)
        _Syncing(files, states, synced).run()
    return synced


def summary_of(synced: Synced) -> str:
    """Return for people what a call has done."""
    if not (synced.runs.all or synced.rows.all):
        return "no folder has a dvc.lock there; nothing has run"
    lines = [
        f"{synced.store}: {name} {done.made} made, {done.completed} completed, "
        f"{done.complete} complete before"
        for name, done in (("runs", synced.runs), ("experiments", synced.rows))
    ]
    counts = Counter((left.path, left.reason) for left in synced.left_out)
    lines += [
        f"  left out: {path}, {reason}" + (f" ({count} runs)" if count > 1 else "")
        for (path, reason), count in counts.items()
    ]
    if any(left.reason == NOT_CACHED for left in synced.left_out):
        lines.append("  fetch what is missing with `uv run dvc fetch`, then sync again")
    return "\n".join(lines)


class _Syncing:
    """One call: what the revisions hold, and where it goes."""

    def __init__(self, files: Files, states: Sequence[State], synced: Synced) -> None:
        self._files = files
        self._states = states
        self._synced = synced
        self._outputs = Outputs(files)
        self._targets: dict[str, Target] = {}
        self._seen: set[str] = set()  # ids of runs that are done
        # By an entry's digest: the revisions that have it, and what it read of other stages.
        self._revisions: dict[str, list[Revision]] = {}
        self._data: dict[str, list[LockedFile]] = {}
        for state in states:
            made = {out.path for entry in state.entries.values() for out in entry.outs}
            for entry in state.entries.values():
                self._revisions.setdefault(entry.digest, []).extend(state.revisions)
                self._data[entry.digest] = [dep for dep in entry.deps if dep.path in made]

    def run(self) -> None:
        """Go through all experiments, the oldest first, what is left of others at the end."""
        rows = [(state, row) for state in self._states for row in rows_of(state, self._files)]
        rows.sort(key=lambda pair: (pair[1].is_left, _order(self._first_of(pair[1]))))
        total = sum(len(row.entries) for _, row in rows)
        with tqdm(total=total, unit="run", desc="sync", disable=None) as bar:
            for state, row in rows:
                self._sync_row(state, row)
                bar.update(len(row.entries))

    def _sync_row(self, state: State, row: Row) -> None:
        target = self._target(state)
        known = target.index.row_of(row.identity)
        is_new = known is None
        if known is None:
            if row.is_left and all(map(target.index.run_of, row.entries.values())):
                return  # they lie below the experiment that they belong to
            known = self._make_row(target, state, row)
        runs = {
            entry.stage: self._sync_run(target, entry, row, known)
            for entry in _in_order(row.entries)
        }
        is_more = self._fill_row(target, state, row, known, runs)
        _count(self._synced.rows, is_new, is_more)

    def _make_row(self, target: Target, state: State, row: Row) -> Known:
        first = self._first_of(row)
        name = title(row.params, state.experiment, row.identity)
        note = describe(self._files, row.folder, row.parts, first.parent)
        return make_row(target, name, note, self._origin(row, first))

    def _fill_row(
        self, target: Target, state: State, row: Row, known: Known, runs: dict[str, Known]
    ) -> bool:
        """Give a row what it has not of its runs' results; return whether there was any."""
        told = Told()
        missing = _listed(known)
        with tempfile.TemporaryDirectory() as scratch:
            for stage, entry in row.entries.items():
                is_shown = known.tags.get(f"{RUN_OF}{stage}") == runs[stage].run_id
                outs = [out for out in entry.outs if out.path in SHARED]
                if is_shown:
                    outs = [out for out in outs if out.path in missing]
                told.add(self._tell(entry, outs, Path(scratch)))
            tags = {f"{RUN_OF}{stage}": run.run_id for stage, run in runs.items()}
            if state.experiment and DVC_EXPERIMENT not in known.tags:
                tags[DVC_EXPERIMENT] = state.experiment
            is_over = row.is_whole or "malaria.rebuilt" in known.tags
            ended = max(run.start_ms for run in runs.values()) if is_over else None
            return write_row(target, known, row.params, told, tags, ended)

    def _sync_run(self, target: Target, entry: Entry, row: Row, parent: Known) -> Known:
        """Return the run of an entry, after it was made or completed."""
        known = target.index.run_of(entry)
        if known is not None and known.run_id in self._seen:
            return known  # several experiments share it
        is_new = known is None or known.status != FINISHED
        missing = _listed(known) if known else []
        outs = entry.outs if is_new else [out for out in entry.outs if out.path in missing]
        is_more = False
        with tempfile.TemporaryDirectory() as scratch:
            told = self._tell(entry, outs, Path(scratch))
            known = known or self._find_cut_off(target, entry, told)
            if known is None:
                origin = self._origin(row, self._first(entry))
                known = make_run(target, entry, parent, origin)
            if is_new or told.missing != missing:
                time_ms = self._first(entry).time_ms
                write_run(target, entry, self._data[entry.digest], known, told, time_ms)
                is_more = True
        is_more |= relate_run(target, entry, known, parent)
        self._seen.add(known.run_id)
        _count(self._synced.runs, is_new, is_more)
        self._name_left_out(entry, known, told)
        return known

    def _find_cut_off(self, target: Target, entry: Entry, told: Told) -> Known | None:
        """Return a live run that was cut off, and whose epochs are those of the history."""
        epochs = {(point.step, point.value) for point in told.points if point.name == "val_loss"}
        for known in target.index.cut_off(entry):
            logged = target.client.get_metric_history(known.run_id, "val_loss")
            if {(metric.step, metric.value) for metric in logged} <= epochs:
                return known
        return None

    def _tell(self, entry: Entry, outs: Sequence[LockedFile], scratch: Path) -> Told:
        revisions = self._revisions[entry.digest]
        return tell(outs, lambda out: self._outputs.find(out, entry, revisions, scratch))

    def _name_left_out(self, entry: Entry, known: Known, told: Told) -> None:
        stages = self._files.stages(self._revisions[entry.digest][0], entry.folder)
        cached = stages[entry.stage].cached if entry.stage in stages else []
        for path in told.missing:
            reason = NOT_CACHED if path in cached else "not in Git with the lock's MD5"
            self._leave_out(entry, path, known, reason)
        for path, fault in told.strange.items():
            self._leave_out(entry, path, known, f"of another schema ({fault})")

    def _leave_out(self, entry: Entry, path: str, known: Known, reason: str) -> None:
        left = LeftOut(entry.place(path), entry.stage, known.run_id, reason)
        self._synced.left_out.append(left)

    def _target(self, state: State) -> Target:
        """Return the experiment in MLflow that the revision's params.yaml names."""
        params = self._files.params(state.revisions[-1], state.folder)
        name = (params.get("mlflow") or {}).get("experiment") or DEFAULT_EXPERIMENT
        if name not in self._targets:
            client, experiment_id = open_store(self._files.root, name)
            index = read_index(client, [experiment_id])
            self._targets[name] = Target(client, experiment_id, index)
        return self._targets[name]

    def _origin(self, row: Row, first: Revision) -> Origin:
        is_dirty_tree = first.is_worktree and is_dirty(self._files.root)
        tags = common_tags(row.identity, row.folder, first.commit, is_dirty_tree, first.experiment)
        return Origin(first.time_ms, tags)

    def _first_of(self, row: Row) -> Revision:
        """Return the revision that completed an experiment: the last one to bring an entry."""
        return max(map(self._first, row.entries.values()), key=_order)

    def _first(self, entry: Entry) -> Revision:
        """Return the revision that first had an entry: the work tree where no commit has it."""
        return self._firsts[entry.digest]

    @cached_property
    def _firsts(self) -> dict[str, Revision]:
        chosen = [revision for state in self._states for revision in state.revisions]
        if is_shallow(self._files.root):
            self._synced.notes.append(
                "the clone is shallow: times may be those of its oldest commit; run `git fetch "
                "--unshallow` before the first sync."
            )
        states = [*read_states(self._files, history(self._files.root, chosen), []), *self._states]
        found: dict[str, Revision] = {}
        for state in states:
            for revision in state.revisions:
                for entry in state.entries.values():
                    known = found.setdefault(entry.digest, revision)
                    if _order(revision) < _order(known):
                        found[entry.digest] = revision
        return found


def _order(revision: Revision) -> tuple[bool, int]:
    return revision.is_worktree, revision.time_ms


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


def _listed(known: Known) -> list[str]:
    """Return the outputs that a run was left without."""
    return [path for path in known.tags.get(MISSING, "").split(", ") if path]


def _count(done: Done, is_new: bool, is_more: bool) -> None:
    if is_new:
        done.made += 1
    elif is_more:
        done.completed += 1
    else:
        done.complete += 1


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let other calls on this repository wait, so that no run is made twice."""
    try:
        with FileLock(root / "mlflow.db-sync.lock", timeout=LOCK_LIMIT_S):
            yield
    except Timeout:
        raise MalariaError(
            f"another `malaria sync` has worked on {root} for more than {LOCK_LIMIT_S} s; wait "
            "until it has ended."
        ) from None
