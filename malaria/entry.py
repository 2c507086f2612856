"""A stage's entry in dvc.lock: what went in, what came out, and the digest that names it."""

import hashlib
import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml.resolver import implicit_resolvers

from malaria.errors import MalariaError
from malaria.pipeline import Stage, digest_of, md5

SCHEMA = "2.0"


@dataclass(frozen=True)
class LockedFile:
    """A file that dvc.lock names, its path relative to the pipeline's folder."""

    path: str
    md5: str
    size: int


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
        """Return a path of the pipeline's folder, relative to the repository."""
        return posixpath.normpath(posixpath.join(self.folder, path))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of stage, folder, params, and paths and md5s of what went in and out."""
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
        plain = {self.stage: json.loads(json.dumps(self.locked))}  # no tuples, nothing shared
        return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def read_entries(content: bytes, folder: str, where: str) -> dict[str, Entry]:
    """Return the entries of a dvc.lock by stage; `where` names it in messages.

    Raises MalariaError for what is no YAML, of another schema, or lacks a path or an md5.
    """
    lock = parse_yaml(content)
    if lock is None:
        raise MalariaError(f"{where} is not readable as YAML; bring it back from Git.")
    schema = lock.get("schema") if isinstance(lock, dict) else None
    if schema != SCHEMA:
        raise MalariaError(
            f"{where} has the schema {schema!r}, where DVC 3 writes {SCHEMA!r}; write it anew with "
            "`uv run dvc repro`."
        )
    stages = lock.get("stages") or {}
    try:
        entries = {name: Entry(folder, name, stage) for name, stage in stages.items()}
        for entry in entries.values():
            _ = entry.digest  # reads all that is used of an entry
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalariaError(
            f"{where} has an entry that is not of DVC's schema {SCHEMA} ({error!r}); write it anew "
            "with `uv run dvc repro`."
        ) from None
    return entries


def locked_by_hand(
    stage: Stage, params: Mapping[str, Any], deps: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    """Return the entry that DVC will write for a stage that runs, as far as it began.

    `params` are the stage's, `deps` gives the md5 of each dep; paths are those of `folder`.
    """
    return {
        "cmd": stage.cmd,
        "deps": _by_path([locked_file(folder, path, hash_) for path, hash_ in deps.items()]),
        **({"params": {"params.yaml": dict(sorted(params.items()))}} if params else {}),
    }


def locked_outs(stage: Stage, folder: Path) -> list[dict[str, Any]]:
    """Return what DVC will write of the stage's outputs, once they are there."""
    return _by_path([locked_file(folder, path, md5(folder / path)) for path in stage.outs])


def md5_of(content: bytes) -> str:
    """Return the MD5 of a file's content, as dvc.lock gives it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def locked_file(folder: Path, path: str, hash_: str) -> dict[str, Any]:
    """Return what dvc.lock says of a file of the folder."""
    shown = posixpath.normpath(path)
    return {"path": shown, "hash": "md5", "md5": hash_, "size": (folder / path).stat().st_size}


@lru_cache(maxsize=256)
def parse_yaml(content: bytes) -> Any:
    """Return what YAML holds, None where it is none; not to be changed, as it is kept.

    As DVC reads it (YAML 1.2: 1e-5 is a number, no is text), but by libyaml, which takes a tenth of
    the time: a history has hundreds of locks of a thousand lines.
    """
    try:
        return yaml.load(content, _Loader)  # noqa: S506 (a safe loader, with other rules of what is a number)
    except (yaml.YAMLError, ValueError):
        return None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Sequence[Any]] = {}  # noqa: RUF012 (filled below)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers  # quotes what would be read otherwise


for _versions, _tag, _pattern, _first in implicit_resolvers:
    if (1, 2) in _versions:
        _Loader.add_implicit_resolver(_tag, _pattern, _first)


def _by_path(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(files, key=lambda file: str(file["path"]))


def _file(entry: Mapping[str, Any]) -> LockedFile:
    return LockedFile(str(entry["path"]), str(entry["md5"]), int(entry.get("size", 0)))
