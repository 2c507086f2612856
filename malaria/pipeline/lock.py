"""A stage's entry in dvc.lock: what it read, what it left, and the digest that names it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from malaria.core.yaml_files import dump_yaml, parse_yaml
from malaria.errors import MalariaError
from malaria.paths import PARAMS
from malaria.pipeline.identity import digest_of
from malaria.pipeline.stages import FOLDER, Stage, files_at, md5_at, place

SCHEMA = "2.0"


@dataclass(frozen=True)
class LockedFile:
    """A file or folder that dvc.lock names, its path relative to the pipeline's folder."""

    path: str
    md5: str
    size: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, whose md5 stands for all of its files."""
        return self.md5.endswith(FOLDER)


@dataclass(frozen=True)
class Entry:
    """What dvc.lock says of one stage; `locked` is that, as plain values."""

    folder: str  # of the pipeline, relative to the repository
    stage: str
    locked: Mapping[str, Any]

    @property
    def params(self) -> dict[str, Any]:
        """The params that the stage ran with, by the keys of dvc.yaml."""
        return dict(next(iter(self.locked.get("params", {}).values()), {}))

    @cached_property
    def deps(self) -> list[LockedFile]:
        """What the stage read."""
        return [_file(entry) for entry in self.locked.get("deps", [])]

    @cached_property
    def outs(self) -> list[LockedFile]:
        """What the stage left."""
        return [_file(entry) for entry in self.locked.get("outs", [])]

    def place(self, path: str) -> str:
        """Return where a path of the pipeline's folder lies in the repository."""
        return place(self.folder, path)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of stage, folder, params, and paths and md5s of all inputs and outputs."""
        return digest_of(
            {
                "stage": self.stage,
                "folder": self.folder,
                "params": self.params,
                "deps": {self.place(dep.path): dep.md5 for dep in self.deps},
                "outs": {self.place(out.path): out.md5 for out in self.outs},
            }
        )

    def text(self) -> str:
        """Return the entry as YAML, as it stands in dvc.lock."""
        return dump_yaml({self.stage: json.loads(json.dumps(self.locked))})  # nothing shared


def read_entries(content: bytes, folder: str, where: str) -> dict[str, Entry]:
    """Return the entries of a dvc.lock by stage; `where` names it in messages.

    Raises MalariaError for text that is not YAML, another schema, and a missing path or md5.
    """
    try:
        lock = parse_yaml(content)
    except ValueError:
        raise MalariaError(f"{where} is not readable as YAML; bring it back from Git.") from None
    schema = lock.get("schema") if isinstance(lock, dict) else None
    if schema != SCHEMA:
        raise MalariaError(
            f"{where} has the schema {schema!r}, where DVC 3 writes {SCHEMA!r}; write it again "
            "with `uv run dvc repro`."
        )
    stages = lock.get("stages") or {}
    try:
        entries = {name: Entry(folder, name, stage) for name, stage in stages.items()}
        for entry in entries.values():
            _ = entry.digest  # reads all that is used of an entry
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalariaError(
            f"{where} has an entry that is not of DVC's schema {SCHEMA} ({error!r}); write it "
            "again with `uv run dvc repro`."
        ) from None
    return entries


def entry_before(
    stage: Stage, params: Mapping[str, Any], deps: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    """Return the entry that DVC will write for a stage that is about to run, without outputs.

    `params` are the stage's, `deps` gives the md5 of each dep; paths are those of `folder`.
    """
    files = [_locked_file(folder, path, hash_) for path, hash_ in deps.items()]
    return {
        "cmd": stage.cmd,
        "deps": _by_path(files),
        **({"params": {PARAMS: dict(sorted(params.items()))}} if params else {}),
    }


def with_outs(entry: Entry, stage: Stage, folder: Path) -> Entry:
    """Return the entry with the stage's outputs in `folder`, as DVC will write it."""
    outs = _by_path([_locked_file(folder, path, md5_at(folder, path)) for path in stage.outs])
    return Entry(entry.folder, entry.stage, {**entry.locked, "outs": outs})


def _locked_file(folder: Path, path: str, hash_: str) -> dict[str, Any]:
    entry = {"path": path, "hash": "md5", "md5": hash_}
    file = folder / path
    if not hash_.endswith(FOLDER):
        return {**entry, "size": file.stat().st_size}
    names = files_at(folder, path)
    size = sum((file / name).stat().st_size for name in names)
    return {**entry, "size": size, "nfiles": len(names)}


def _by_path(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(files, key=lambda file: str(file["path"]))


def _file(entry: Mapping[str, Any]) -> LockedFile:
    return LockedFile(str(entry["path"]), str(entry["md5"]), int(entry.get("size", 0)))
