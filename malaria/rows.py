"""The rows of the UI: which experiment a lock tells of, its name, and what is new in it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from malaria.entry import Entry, md5_of, read_entries
from malaria.errors import MalariaError
from malaria.params.study import REPO, flatten
from malaria.pipeline import LOCK, Parts, digest_of, locked_parts, parts_of
from malaria.states import Files, Revision, State, place

SHORT = 8  # characters of a hash
LONGEST = 60  # characters of a value
LONGEST_NOTE = 5000  # what MLflow keeps of a tag


@dataclass(frozen=True)
class Row:
    """One experiment: its params and code by stage, and the entries of stages that have run."""

    folder: str
    identity: str
    parts: Parts
    entries: dict[str, Entry]
    is_whole: bool  # all of its stages have run
    is_left: bool  # of other params, code or data than the rest of its lock

    @property
    def params(self) -> dict[str, Any]:
        """The params of all stages, by their dotted keys."""
        return params_of(self.parts)


def rows_of(state: State, files: Files) -> list[Row]:
    """Return the experiment that a lock records, and what it has left of an earlier one.

    A lock in which all entries go together is one experiment; stages that have not run yet take
    their params and code from the revision, as they do while it runs. Where some entries are of
    other params, code or data than the rest (an experiment that ran up to `evaluate` alone),
    those that go with the revision's params and code are the experiment.
    """
    revision = state.revisions[0]
    entries = state.entries
    repo = files.params(revision, state.folder).get(REPO, ".")
    made = {out.path: out.md5 for entry in entries.values() for out in entry.outs}
    locked = {name: entry.locked for name, entry in entries.items()}
    parts = locked_parts(locked, repo, made)
    now = parts_at(files, revision, state.folder)
    fitting = dict(entries)
    if not _agree(parts) or any(not _reads(entry, made) for entry in entries.values()):
        fitting = _current(entries, parts, now, made)
    rows = []
    for group, others in ((fitting, now), (_without(entries, fitting), {})):
        if group:
            all_parts = others | {name: parts[name] for name in group}
            is_whole = bool(others) and set(all_parts) == set(group)
            identity, is_left = digest_of(all_parts), group is not fitting
            rows.append(Row(state.folder, identity, all_parts, group, is_whole, is_left))
    return rows


def parts_at(files: Files, revision: Revision, folder: str) -> Parts:
    """Return what an experiment would be that ran at a revision; {} where that cannot be read."""
    params = {REPO: ".", **files.params(revision, folder)}

    @cache  # most of the code is of several stages
    def hash_of(path: str) -> str:
        content = files.read(revision, Entry(folder, "", {}).place(path))
        return md5_of(content or b"")

    try:
        return parts_of(files.stages(revision, folder), params, hash_of)
    except (KeyError, TypeError):  # a stage's param is missing
        return {}


def params_of(parts: Parts) -> dict[str, Any]:
    """Return the params of all stages, by their dotted keys."""
    return flatten({key: value for part in parts.values() for key, value in part["params"].items()})


def title(params: Mapping[str, Any], experiment: str | None, identity: str) -> str:
    """Return a name that a reader knows a row by: model, size, data, DVC experiment or hash."""
    facts = [str(params.get("train.model", "experiment"))]
    if "preprocess.size" in params:
        facts.append(f"{params['preprocess.size']} px")
    if any(key.startswith("fetch.synthetic.") for key in params):
        facts.append("synthetic")
    if params.get("split.unit") == "cell":
        facts.append("leaky split")
    if params.get("split.fold") is not None:
        facts.append(f"fold {params['split.fold']} of {params.get('split.folds')}")
    return ", ".join([*facts, experiment or identity[:SHORT]])


def describe(files: Files, folder: str, parts: Parts, before: str | None) -> str:
    """Return in Markdown which params and code an experiment has changed since a commit.

    Compared is what the commit's dvc.lock says was run; without a lock, what would have run.
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
    content = files.read_commit(commit, path)
    if content is not None:
        try:
            entries = read_entries(content, folder, path)
        except MalariaError:  # of a commit, so nobody can mend it
            return {}, ""
        made = [out.path for entry in entries.values() for out in entry.outs]
        locked = {name: entry.locked for name, entry in entries.items()}
        repo = files.params(revision, folder).get(REPO, ".")
        return locked_parts(locked, repo, made), f"`{path}` of `{commit[:SHORT]}`"
    return parts_at(files, revision, folder), f"`{commit[:SHORT]}`, where `{folder}` has no lock"


def _changed_params(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted(old | new):
        if key not in old:
            yield f"- `{key}`: new, {_shown(new[key])}"
        elif key not in new:
            yield f"- `{key}`: gone, was {_shown(old[key])}"
        elif old[key] != new[key]:
            yield f"- `{key}`: {_shown(old[key])} → {_shown(new[key])}"


def _changed_code(old: Parts, new: Parts) -> list[str]:
    """Return the files that a stage of both ran with another content, or only one of them had."""
    changed = set()
    for stage in old.keys() & new.keys():
        before, after = old[stage]["code"], new[stage]["code"]
        changed |= {path for path in before | after if before.get(path) != after.get(path)}
    return sorted(changed)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return f"`{text if len(text) <= LONGEST else text[:LONGEST] + '…'}`"


def _agree(parts: Parts) -> bool:
    """Tell whether no two stages ran with other values of a param, or other code of a path."""
    for kind in ("params", "code"):
        seen: dict[str, Any] = {}
        for part in parts.values():
            for key, value in flatten(part[kind]).items():
                if seen.setdefault(key, value) != value:
                    return False
    return True


def _reads(entry: Entry, made: Mapping[str, str]) -> bool:
    """Tell whether a stage read what the other stages of the lock left."""
    return all(made.get(dep.path, dep.md5) == dep.md5 for dep in entry.deps)


def _current(
    entries: Mapping[str, Entry], parts: Parts, now: Parts, made: Mapping[str, str]
) -> dict[str, Entry]:
    """Return the entries that go with params and code of the revision, and with each other."""
    maker = {out.path: name for name, entry in entries.items() for out in entry.outs}

    def goes(name: str) -> bool:
        entry = entries[name]
        above = {maker[dep.path] for dep in entry.deps if dep.path in maker}
        return parts[name] == now.get(name) and _reads(entry, made) and all(map(goes, above))

    return {name: entry for name, entry in entries.items() if goes(name)}


def _without(entries: Mapping[str, Entry], taken: Mapping[str, Entry]) -> dict[str, Entry]:
    return {name: entry for name, entry in entries.items() if name not in taken}
