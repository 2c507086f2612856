"""The rows of the UI: which experiment a lock records, its name, and what it changed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from malaria.core.addresses import shown
from malaria.core.params import flatten
from malaria.errors import MalariaError
from malaria.paths import LOCK
from malaria.pipeline.history import Files, Revision, State
from malaria.pipeline.identity import Parts, digest_of, locked_parts, params_of, parts_of
from malaria.pipeline.lock import Entry, read_entries
from malaria.pipeline.stages import place

EVALUATE = "evaluate"  # the stage that gives an experiment its result
SHORT = 8  # characters of a hash
LONGEST = 60  # characters of a value
LONGEST_NOTE = 5000  # what MLflow keeps of a tag


@dataclass(frozen=True)
class ExperimentRow:
    """One experiment: its params and code by stage, and the entries of stages that have run."""

    folder: str
    identity: str
    parts: Parts
    entries: dict[str, Entry]
    is_evaluated: bool  # which ends it: heat maps and report add to it

    @property
    def params(self) -> dict[str, Any]:
        """The params of all stages by their dotted keys."""
        return params_of(self.parts)


def row_of(state: State, files: Files) -> ExperimentRow | None:
    """Return the experiment that a lock records, None if no entry fits params and code.

    Stages that have not run yet take params and code from the revision, as they do while the
    experiment runs. If entries are of different experiments (a pipeline that ran only in part),
    those that fit the revision's params and code count; the others belong to an earlier lock.
    """
    revision, entries = state.revisions[0], state.entries
    made = {out.path: out.md5 for entry in entries.values() for out in entry.outs}
    parts = locked_parts({name: entry.locked for name, entry in entries.items()}, made)
    now = parts_at(files, revision, state.folder)
    fitting = dict(entries)
    if not _agree(parts) or any(not _reads(entry, made) for entry in entries.values()):
        fitting = _current(entries, parts, now, made)
    if not fitting:
        return None
    all_parts = now | {name: parts[name] for name in fitting}
    identity, is_evaluated = digest_of(all_parts), EVALUATE in fitting
    return ExperimentRow(state.folder, identity, all_parts, fitting, is_evaluated)


def parts_at(files: Files, revision: Revision, folder: str) -> Parts:
    """Return what an experiment would be that ran at a revision; {} if that is not readable."""

    @cache  # stages share most of the code
    def hash_of(path: str) -> str:
        return files.md5(revision, place(folder, path))

    try:
        params = files.params(revision, folder)
        return parts_of(files.stages(revision, folder), params, hash_of)
    except (KeyError, TypeError):  # a stage's param is missing
        return {}


def title(params: Mapping[str, Any], experiment: str | None, identity: str) -> str:
    """Return a row's name: the DVC experiment or a hash, the split, the model, size, kind of data.

    What differs comes first, as the UI's table cuts names off.
    """
    facts = [experiment or identity[:SHORT]]
    if isinstance(params.get("split.fold"), int):
        facts.append(f"fold {params['split.fold']} of {params.get('split.folds')}")
    if params.get("split.unit") == "cell":
        facts.append("leaky split")
    if params.get("train.model", experiment) != experiment:  # which is often named after it
        facts.append(str(params["train.model"]))
    if "preprocess.size" in params:
        facts.append(f"{params['preprocess.size']} px")
    if any(key.startswith("fetch.synthetic.") for key in params):
        facts.append("synthetic")
    return ", ".join(facts)


def is_evaluated(entries: Mapping[str, Entry], parts: Parts) -> bool:
    """Return whether entries, by stage, include the evaluation of an experiment."""
    made = {out.path: out.md5 for entry in entries.values() for out in entry.outs}
    locked = locked_parts({name: entry.locked for name, entry in entries.items()}, made)
    return EVALUATE in _current(entries, locked, parts, made)


def describe(files: Files, folder: str, parts: Parts, before: str | None) -> str:
    """Return in Markdown which params and code an experiment has changed since a commit.

    It is compared with what the commit's dvc.lock says was run; without a lock, with what would
    have run.
    """
    old, source = _parts_before(files, folder, before) if before else ({}, "")
    if not old:
        return f"Nothing earlier of `{folder}` is in Git to compare it with."
    changes = list(_changed_params(params_of(old), params_of(parts)))
    code = _changed_code(old, parts)
    if code:
        changes.append(f"- code: {', '.join(f'`{path}`' for path in code)}")
    if not changes:
        return f"The same params and code as {source}."
    return "\n".join([f"Changed since {source}:", "", *changes])[:LONGEST_NOTE]


def _parts_before(files: Files, folder: str, commit: str) -> tuple[Parts, str]:
    revision = Revision(commit, 0, None)
    path = place(folder, LOCK)
    content = files.read(revision, path)
    if content is None:
        parts = parts_at(files, revision, folder)
        return parts, f"`{commit[:SHORT]}`, where `{folder}` has no lock"
    try:
        entries = read_entries(content, folder, path)
    except MalariaError:  # of a commit, so nobody can correct it
        return {}, ""
    made = [out.path for entry in entries.values() for out in entry.outs]
    locked = {name: entry.locked for name, entry in entries.items()}
    return locked_parts(locked, made), f"`{path}` of `{commit[:SHORT]}`"


def _changed_params(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted(old | new):
        if key not in old:
            yield f"- `{key}`: new, {_shown(new[key])}"
        elif key not in new:
            yield f"- `{key}`: removed, was {_shown(old[key])}"
        elif old[key] != new[key]:
            yield f"- `{key}`: {_shown(old[key])} → {_shown(new[key])}"


def _changed_code(old: Parts, new: Parts) -> list[str]:
    """Return the code that a stage of both ran with another content, or only one of them had."""
    changed = set()
    for stage in old.keys() & new.keys():
        before, after = old[stage]["code"], new[stage]["code"]
        changed |= {path for path in before | after if before.get(path) != after.get(path)}
    return sorted(changed)


def _shown(value: object) -> str:
    text = shown(json.dumps(value, default=str))
    return f"`{text if len(text) <= LONGEST else text[:LONGEST] + '…'}`"


def _agree(parts: Parts) -> bool:
    """Return whether no two stages ran with other values of a param, or other code of a path."""
    for kind in ("params", "code"):
        seen: dict[str, Any] = {}
        for part in parts.values():
            for key, value in flatten(part[kind]).items():
                if seen.setdefault(key, value) != value:
                    return False
    return True


def _reads(entry: Entry, made: Mapping[str, str]) -> bool:
    """Return whether a stage read what the other stages of the lock left."""
    return all(made.get(dep.path, dep.md5) == dep.md5 for dep in entry.deps)


def _current(
    entries: Mapping[str, Entry], parts: Parts, now: Parts, made: Mapping[str, str]
) -> dict[str, Entry]:
    """Return the entries that fit params and code of the revision, and each other."""
    maker = {out.path: name for name, entry in entries.items() for out in entry.outs}

    def fits(name: str) -> bool:
        entry = entries[name]
        above = {maker[dep.path] for dep in entry.deps if dep.path in maker}
        return parts[name] == now.get(name) and _reads(entry, made) and all(map(fits, above))

    return {name: entry for name, entry in entries.items() if fits(name)}
