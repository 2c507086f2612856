"""Finished DVC experiments, copied out of Git so that their numbers can be committed.

Of each stay its params, its lock, and what its numbers follow from: predictions, history, tables.
The lock has the MD5 of all that is kept, so a later edit is seen.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from malaria import paths
from malaria.core.files import write_file
from malaria.core.params import flatten
from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.gate.metrics_check import metrics_faults
from malaria.pipeline import history
from malaria.pipeline.git import find_file
from malaria.pipeline.history import Files, Revision, open_files
from malaria.pipeline.identity import locked_parts, parts_of
from malaria.pipeline.lock import Entry, read_entries
from malaria.pipeline.stages import counted, md5_at, place, up_to

LAST = "evaluate"  # the stage that gives an experiment its result
OUTS = (
    paths.METRICS,
    paths.TRAINED,
    paths.HISTORY,
    paths.PREDICTIONS,
    paths.EXTERNAL,
    paths.TABLES,
)
WITH_LOCK = (paths.PREDICTIONS, paths.EXTERNAL, paths.TABLES)  # what is only kept with a lock
THRESHOLD = "evaluate.threshold"


def collect(root: Path, folder: str, names: list[str]) -> list[Path]:
    """Copy params, lock and small results of the named experiments, or of all if none is named.

    `folder` is the pipeline's, relative to the repository. Returns the folders that were written.
    Raises MalariaError for a name that no experiment has, and for an experiment that did not run
    in this folder or not up to LAST; then nothing is written.
    """
    found = {str(one.experiment): one for one in history.list_experiments(root)}
    unknown = [name for name in names if name not in found]
    if unknown:
        known, remedy = ", ".join(sorted(found)), paths.dvc(folder, "exp list --all-commits")
        raise MalariaError(
            f"no DVC experiment is called {unknown[0]!r} (there are: {known or 'none'}); see "
            f"`{remedy}`."
        )
    with open_files(root) as files:
        contents = {name: _finished(files, found[name], folder) for name in names or sorted(found)}
    return [_write(root / folder / paths.EXPERIMENTS / name, contents[name]) for name in contents]


def list_experiments(root: Path) -> dict[str, str]:
    """Return the commit of each DVC experiment by name; the newest if several share a name."""
    return {str(found.experiment): found.commit for found in history.list_experiments(root)}


def file_at(root: Path, commit: str, path: str) -> bytes:
    """Return a file of an experiment's commit; raises MalariaError if it has no such path."""
    return _there(find_file(root, commit, path), commit, path)


def kept_faults(root: Path, folder: str) -> Iterator[str]:
    """Give a sentence for each kept experiment of a pipeline's folder that its lock contradicts.

    Files, params and numbers are compared. The oldest were kept without a lock, and without what
    their numbers follow from; these are left out.
    """
    for kept in sorted(filter(Path.is_dir, (root / folder / paths.EXPERIMENTS).glob("*"))):
        shown, lock = kept.relative_to(root).as_posix(), kept / paths.LOCK
        if not lock.is_file():
            if any((kept / _kept(out)).exists() for out in WITH_LOCK):
                yield f"{shown}/{paths.LOCK} is missing, so nothing says what {shown} is of"
            continue
        entries = read_entries(lock.read_bytes(), folder, f"{shown}/{paths.LOCK}")
        yield from _changed_params(kept, shown, entries)
        yield from _changed_files(kept, shown, entries)
        yield from _changed_metrics(kept, shown, entries)


def _finished(files: Files, revision: Revision, folder: str) -> dict[str, bytes]:
    """Return what is kept of an experiment, by its path below the kept folder.

    Raises MalariaError if the experiment's own lock does not say that all of it is of one run.
    """

    def read(path: str) -> bytes:
        where = place(folder, path)
        return _there(files.read(revision, where), revision.commit, where)

    contents = {path: read(path) for path in (paths.PARAMS, paths.LOCK)}
    fault = _unfinished(files, revision, folder, contents[paths.LOCK])
    if fault:
        remedy = paths.dvc(folder, f"exp run --name {revision.experiment}")
        raise MalariaError(
            f"the DVC experiment {revision.experiment} has not run to {LAST} ({fault}); run it "
            f"again, as with `{remedy}`."
        )
    for out in OUTS:
        below = counted(out, files.list(revision, place(folder, out)))
        for path in [f"{out}/{name}" for name in below] or [out]:
            contents[_kept(path)] = read(path)
    return contents


def _unfinished(files: Files, revision: Revision, folder: str, lock: bytes) -> str:
    """Return why a lock is not that of a run of the revision up to LAST; '' if it is."""
    entries = read_entries(lock, folder, f"{paths.LOCK} of {revision}")
    stages = files.stages(revision, folder)
    made = {out.path: out.md5 for entry in entries.values() for out in entry.outs}
    ran = locked_parts({name: entry.locked for name, entry in entries.items()}, made)
    if LAST not in stages or LAST not in entries:
        return f"its {paths.LOCK} records no run of {LAST}"
    now = parts_of(
        {name: stage for name, stage in stages.items() if name in up_to(stages, LAST)},
        files.params(revision, folder),
        lambda path: files.md5(revision, place(folder, path)),
    )
    for name, part in now.items():
        if ran.get(name) != part:
            return f"{name} did not run with its params and code"
        if any(made.get(dep.path, dep.md5) != dep.md5 for dep in entries[name].deps):
            return f"{name} read what another run left"
    for out in OUTS:
        if files.md5(revision, place(folder, out)) != made.get(out):
            return f"{out} is not what its {paths.LOCK} records"
    return ""


def _write(target: Path, contents: Mapping[str, bytes]) -> Path:
    """Write what is kept of an experiment, in place of what an earlier one left there."""
    for path in [path for path in target.rglob("*") if path.is_file()]:
        if path.relative_to(target).as_posix() not in contents:
            path.unlink()
    for name, content in contents.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(target / name, content)
    return target


def _kept(path: str) -> str:
    """Return where an output's file lies below the kept folder: as in the folder of reports."""
    return path.removeprefix(f"{paths.REPORTS}/")


def _there(content: bytes | None, commit: str, path: str) -> bytes:
    if content is None:
        raise MalariaError(
            f"the experiment at {commit[:8]} has no {path}; was it run in another folder?"
        )
    return content


def _changed_params(kept: Path, shown: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Give the params that the stages up to LAST did not run with.

    Later stages may be of another run, as in an experiment that ran no further.
    """
    values = flatten(read_yaml(kept / paths.PARAMS))
    maker = {out.path: name for name, entry in entries.items() for out in entry.outs}
    waiting = {LAST} & entries.keys()
    ran: dict[str, object] = {}
    while waiting:
        entry = entries[waiting.pop()]
        ran |= flatten(entry.params)
        waiting |= {maker[dep.path] for dep in entry.deps if dep.path in maker}
    for key, value in ran.items():
        if values.get(key, ...) != value:
            yield f"{key} in {shown}/{paths.PARAMS} is not what its {paths.LOCK} says it ran with"


def _changed_files(kept: Path, shown: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Give the files that are not those of the lock."""
    made = {out.path: out.md5 for entry in entries.values() for out in entry.outs}
    for out in OUTS:
        path = kept / _kept(out)
        if not path.exists():
            yield f"{shown}/{_kept(out)} is missing"
        elif md5_at(kept, _kept(out)) != made.get(out):
            yield f"{shown}/{_kept(out)} is not what {shown}/{paths.LOCK} records"


def _changed_metrics(kept: Path, shown: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Give the numbers that the predictions do not give."""
    rule = flatten(entries[LAST].params).get(THRESHOLD) if LAST in entries else None
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / paths.REPORTS).symlink_to(kept.resolve())
        yield from metrics_faults(Path(scratch), f"{shown}/{_kept(paths.METRICS)}", rule)
