"""Checks that dvc.lock matches the committed code, params and results, without the data.

`dvc status` compares code, params and outputs with the lock. Of an output in DVC's cache it says
`deleted` or `not in cache` if the data was not fetched, which means nothing; whether the stages
agree on such an output is seen in the lock itself. Then metrics.json is recomputed from the
predictions. Whether those are the model's, only `malaria verify` can show.

A pipeline may have run only up to a stage, in the order of dvc.yaml. Then nothing may be there of
the stages after it.
"""

import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from malaria.core.params import flatten
from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.gate.metrics_check import metrics_faults
from malaria.paths import LOCK, METRICS, PARAMS, PIPELINE, PREDICTIONS, REPORTS, dvc
from malaria.pipeline.git import try_git
from malaria.pipeline.lock import Entry, read_entries
from malaria.pipeline.stages import Stage, counted, place, read_stages

NOT_FETCHED = {"deleted", "not in cache"}  # of an output that DVC keeps: says nothing
EVALUATE = "evaluate"
LISTED = 3  # changed files of a folder that a sentence names
STATUS = ("status", "--porcelain", "-z", "--no-renames")
UNKNOWN = "??"  # in it, a file that Git does not have
Changes = Sequence[str | Mapping[str, Any]]  # what `dvc status --json` prints for a stage


@dataclass(frozen=True)
class LockState:
    """The state of a pipeline's lock; a stale one has its faults, causes first.

    An ok one may end at the stage `last`: then `never_ran` are the stages after it, in their order.
    """

    folder: str
    state: Literal["ok", "never run", "stale"]
    reasons: tuple[str, ...] = ()
    rerun: tuple[str, ...] = ()  # stages that have to run again, in their order
    remedy: str = ""
    uncommitted: tuple[str, ...] = ()  # results that are not in the last commit as they are
    in_git: bool = True  # whether Git has the lock
    last: str = ""  # '' if it has all stages
    never_ran: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return folder and state, which stages never ran, and what is not committed."""
        more = ", ..." if len(self.uncommitted) > LISTED else ""
        shown = f", not committed: {', '.join(self.uncommitted[:LISTED])}{more}"
        state: str = self.state
        if self.state == "ok" and self.never_ran:
            later = " and later" if len(self.never_ran) > 1 else ""
            state = f"ok up to {self.last}; {self.never_ran[0]}{later}: never run"
        return f"{self.folder}: {state}{shown if self.uncommitted else ''}"


def check_lock(root: Path, folder: str) -> LockState:
    """Return the state of the lock of a pipeline's folder, which is relative to the repository.

    Raises MalariaError if lock or DVC cannot be read.
    """
    lock = place(folder, LOCK)
    status = try_git(root, *STATUS, "--", lock, place(folder, REPORTS)).stdout.decode()
    names = {line[3:].removesuffix("/"): line[:2] for line in status.split("\0")[:-1]}
    state = _compare(root, folder)
    return replace(state, uncommitted=tuple(names), in_git=names.get(lock) != UNKNOWN)


def _compare(root: Path, folder: str) -> LockState:
    """Return the state of a lock, whether it is committed or not."""
    base = root / folder
    has_lock = (base / LOCK).is_file()
    if not has_lock and not (base / REPORTS).exists():
        return LockState(folder, "never run")
    status = _read_status(base, folder)  # first, as DVC says what is wrong with dvc.yaml
    params = read_yaml(base / PARAMS)
    stages = read_stages(base, params)
    lock = (base / LOCK).read_bytes() if has_lock else None
    entries = read_entries(lock, folder, place(folder, LOCK)) if lock is not None else {}
    begun = _begun(base, stages, entries)
    strays = (*_made_by_none(base, folder, stages), *_frozen(base, folder))
    if not begun and not strays:
        return LockState(folder, "never run")
    never_ran = tuple(stages)[len(begun) :]
    last = begun[-1] if begun and never_ran else ""
    begun_stages = {name: stages[name] for name in begun}
    changes = _Pipeline(root, folder, params, begun_stages, entries).changes(status)
    evaluated = entries[EVALUATE].params if EVALUATE in entries else {}
    rule = flatten(evaluated).get("evaluate.threshold")
    reasons = [*strays, *(_filled(sentence, names) for sentence, names in changes.items())]
    if rule is not None or not reasons:  # that evaluate never ran is said already
        reasons += metrics_faults(base, place(folder, METRICS), rule)
    if not reasons:
        return LockState(folder, "ok", last=last, never_ran=never_ran)
    changed = set(chain(*changes.values())) or {EVALUATE}
    rerun = tuple(_after(changed, begun_stages))
    # What DVC does not see as changed runs again only by force. Stages are named where a plain
    # `repro` would start those that never ran.
    options = [*([] if changes else ["--force"]), *(rerun if never_ran else ())]
    remedy = dvc(folder, " ".join(["repro", *options]))
    return LockState(folder, "stale", tuple(reasons), rerun, remedy, last=last, never_ran=never_ran)


def _made_by_none(base: Path, folder: str, stages: Mapping[str, Stage]) -> Iterator[str]:
    """Give the results that the gate reads and that no stage accounts for."""
    outs = {out for stage in stages.values() for out in stage.outs}
    for path in (PREDICTIONS, METRICS):
        if (base / path).exists() and not _is_below(path, outs):
            pipeline = place(folder, PIPELINE)
            yield f"{place(folder, path)} is there, but no stage of {pipeline} makes it"


def _frozen(base: Path, folder: str) -> Iterator[str]:
    """Give the stages of whose inputs DVC sees no change."""
    for name, stage in read_yaml(base / PIPELINE)["stages"].items():
        if stage.get("frozen"):
            yield f"{place(folder, PIPELINE)} freezes {name}, so DVC does not look for changes"


@dataclass(frozen=True)
class _Pipeline:
    """What a folder's params.yaml, dvc.yaml and dvc.lock say."""

    root: Path
    folder: str
    params: Mapping[str, Any]
    stages: Mapping[str, Stage]
    entries: Mapping[str, Entry]

    @property
    def lock(self) -> str:
        """Where the lock lies in the repository."""
        return place(self.folder, LOCK)

    def changes(self, status: Mapping[str, Changes]) -> dict[str, list[str]]:
        """Return a sentence for each change without a run, with the stages that {} stands for.

        What only follows from another change is left out: an input belongs to its own stage.
        """
        found: dict[str, list[str]] = {}
        for name, stage in self.stages.items():
            for sentence in self._of_stage(stage, status.get(name, ())):
                found.setdefault(sentence, []).append(name)
        return found

    def _of_stage(self, stage: Stage, changes: Changes) -> Iterator[str]:
        entry = self.entries.get(stage.name)
        if entry is None:
            left = _left_for_git(self.root / self.folder, stage)
            there = f", but {place(self.folder, left[0])} is there" if left else ""
            yield f"{self.lock} records no run of {{}}{there}"
        else:
            yield from self._in_lock(stage, entry)
            yield from self._in_params(stage, entry)
            yield from self._in_status(stage, entry, changes)

    def _in_lock(self, stage: Stage, entry: Entry) -> Iterator[str]:
        """Give what dvc.yaml names and the lock does not, and inputs of another run."""
        read = {dep.path: dep.md5 for dep in entry.deps}
        left = {out.path: out.md5 for other in self.entries.values() for out in other.outs}
        new = [
            *(entry.place(dep) for dep in stage.deps if dep not in read),
            *(entry.place(out) for out in stage.outs if out not in left),
            *(key for key in stage.params if key not in entry.params),
        ]
        if new:
            yield f"{{}} has not run since {entry.place(PIPELINE)} names {', '.join(new)}"
        for dep, hash_ in read.items():
            if left.get(dep, hash_) != hash_:
                yield f"{entry.place(dep)} is of another run than the one that {{}} read"

    def _in_status(self, stage: Stage, entry: Entry, changes: Changes) -> Iterator[str]:
        """Give what DVC says has changed, of what the lock records."""
        outs = {out.path for out in entry.outs}
        made = {out for other in self.stages.values() for out in other.outs}
        code = {dep.path for dep in entry.deps if not _is_below(dep.path, made)}
        for change in changes:
            if isinstance(change, str):
                yield f"{change} of {{}} in {entry.place(PIPELINE)}"
                continue
            for path, how in change.get("changed outs", {}).items():
                if path in outs and not (path in stage.cached and how in NOT_FETCHED):
                    yield f"{entry.place(path)} was {how} after {{}} left it"
            for path, how in change.get("changed deps", {}).items():
                if path in code:
                    yield f"{entry.place(path)} was {how} after {{}} ran{self._files(entry, path)}"

    def _in_params(self, stage: Stage, entry: Entry) -> Iterator[str]:
        """Give the params that differ; DVC would only name their section."""
        ran, now = flatten(entry.params), flatten(self.params)
        named = set(stage.params) & set(entry.params)
        for key in ran | now:
            if _is_below(key, named, ".") and ran.get(key, ...) != now.get(key, ...):
                is_now = _shown(now[key]) if key in now else "missing"
                before = f"with {_shown(ran[key])}" if key in ran else "without it"
                yield f"{key} in {entry.place(PARAMS)} is {is_now}, but {{}} ran {before}"

    def _files(self, entry: Entry, path: str) -> str:
        """Return, in brackets, the files of a folder that are not as in the lock's last commit."""
        folder = entry.place(path)
        since = self._git("log", "-1", "--format=%H", "--", self.lock)
        if not since or not (self.root / folder).is_dir():
            return ""
        names = self._git("diff", "--name-only", *since, "--", folder)
        names += self._git("ls-files", "--others", "--exclude-standard", "--", folder)
        names = counted(path, names)
        more = ", ..." if len(names) > LISTED else ""
        return f" ({', '.join(names[:LISTED])}{more})" if names else ""

    def _git(self, *arguments: str) -> list[str]:
        return try_git(self.root, *arguments).stdout.decode().splitlines()


def _read_status(base: Path, folder: str) -> Mapping[str, Changes]:
    """Return what `dvc status --json` says of the pipeline in a folder, by stage."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", "dvc", "status", "--json"],
        cwd=base,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        said = " ".join(result.stderr.removeprefix("ERROR:").split())
        raise MalariaError(f"`{dvc(folder, 'status')}` failed: {said}")
    return dict(json.loads(result.stdout))


def _begun(
    base: Path, stages: Mapping[str, Stage], entries: Mapping[str, Entry]
) -> tuple[str, ...]:
    """Return the stages up to the last one that has an entry, or has left something for Git."""
    names = tuple(stages)
    begun = [name in entries or bool(_left_for_git(base, stages[name])) for name in names]
    if not any(begun):
        return names if entries else ()  # entries of other stages alone are no run of these
    return names[: len(names) - begun[::-1].index(True)]


def _left_for_git(base: Path, stage: Stage) -> list[str]:
    """Return the outputs of a stage that are there and that Git, not DVC, keeps."""
    return [out for out in stage.outs if out not in stage.cached and (base / out).exists()]


def _after(changed: Collection[str], stages: Mapping[str, Stage]) -> Iterator[str]:
    """Give the changed stages and those that depend on them."""
    made: set[str] = set()
    for name, stage in stages.items():
        if name in changed or any(_is_below(dep, made) for dep in stage.deps):
            made |= set(stage.outs)
            yield name


def _is_below(path: str, tops: Collection[str], separator: str = "/") -> bool:
    """Return whether a path is one of the others, or lies below one."""
    return any(f"{path}{separator}".startswith(f"{top}{separator}") for top in tops)


def _shown(value: object) -> str:
    return json.dumps(value, default=str)


def _filled(sentence: str, names: Sequence[str]) -> str:
    """Return a sentence with the stages that {} stands for."""
    *others, last = names
    if not others:
        return sentence.replace("{}", last)
    return sentence.replace("{} has ", "{} have ").replace("{}", f"{', '.join(others)} and {last}")
