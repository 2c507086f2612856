"""The stages of dvc.yaml, and the hashes of the files and folders that it names.

Paths to code (`malaria/`, `stages/`) are links in the pipelines' folders; here they are given
relative to the repository, all other paths relative to the pipeline's folder, in POSIX form.
"""

import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.paths import LOCK, PIPELINE

REPO = "repo"  # a param of older revisions: where their code lies, relative to the folder
FOLDER = ".dir"  # how the md5 of a folder ends
TEMPLATE = re.compile(r"\$\{([\w.]+)\}")
CODE = re.compile(r"^(?:\.{1,2}/)*((?:malaria|stages)(?:/.*)?)$")
# What .dvcignore keeps out of a folder's hash.
CODE_SUFFIXES = (".py", ".j2")
JUNK_NAMES = {"__pycache__", ".ipynb_checkpoints", ".DS_Store"}
JUNK_ENDINGS = ("~", ".swp")


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml, its templates filled in."""

    name: str
    cmd: str
    params: list[str]  # keys of params.yaml: sections, or a key as in preprocess.size
    deps: list[str]
    outs: list[str]
    cached: list[str]  # those outs that DVC keeps; the others are in Git


def read_stages(folder: Path, params: Mapping[str, Any]) -> dict[str, Stage]:
    """Return the stages of `folder`/dvc.yaml; `params` is the content of params.yaml."""
    return stages_of(read_yaml(folder / PIPELINE), params)


def stages_of(pipeline: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Stage]:
    """Return the stages that the content of a dvc.yaml names.

    Raises KeyError or TypeError if a template names no param.
    """
    return {name: _stage(name, stage, params) for name, stage in pipeline["stages"].items()}


def values_of(stage: Stage, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stage's params by the keys of dvc.yaml; `params` is that of params.yaml."""
    return {key: value_at(params, key) for key in stage.params}


def value_at(params: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key."""
    return reduce(getitem, key.split("."), params)


def code_of(stage: Stage, stages: Iterable[Stage]) -> list[str]:
    """Return the stage's deps that no stage makes: its code."""
    made = {out for other in stages for out in other.outs}
    return [dep for dep in stage.deps if dep not in made]


def place(folder: str, path: str) -> str:
    """Return where a path of a pipeline's folder lies in the repository."""
    code = CODE.match(path)
    return posixpath.normpath(code[1] if code else posixpath.join(folder, path))


def in_repo(path: str | Path, folder: Path, root: Path) -> str:
    """Return a path of a folder relative to the repository's root."""
    return Path(os.path.relpath((folder / path).resolve(), root.resolve())).as_posix()


def md5_of(content: bytes) -> str:
    """Return the MD5 of a file's content, as dvc.lock gives it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def md5(path: Path) -> str:
    """Return the MD5 of a file, as dvc.lock gives it; raises MalariaError if it is not readable."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise MalariaError(
            f"{path} cannot be read ({error.strerror}), but dvc.yaml names it; bring it back with "
            "`uv run dvc repro` if a stage makes it, else from Git."
        ) from None


def md5_at(folder: Path, path: str) -> str:
    """Return the MD5 of a file or folder that dvc.yaml names, as dvc.lock gives it."""
    if not (folder / path).is_dir():
        return md5(folder / path)
    return md5_of_folder({name: md5(folder / path / name) for name in files_at(folder, path)})


def md5_of_folder(hashes: Mapping[str, str]) -> str:
    """Return the MD5 of a folder, as DVC computes it, from those of its files by relative path."""
    listed = [{"md5": hashes[path], "relpath": path} for path in sorted(hashes)]
    return md5_of(json.dumps(listed, sort_keys=True).encode()) + FOLDER


def up_to(stages: Mapping[str, Stage], name: str) -> set[str]:
    """Return a stage and all stages whose outputs it needs, by name."""
    made = {out: other for other, stage in stages.items() for out in stage.outs}
    needed = {made[dep] for dep in stages[name].deps if dep in made}
    return {name}.union(*(up_to(stages, other) for other in needed))


def files_at(folder: Path, path: str) -> list[str]:
    """Return those files of a folder that dvc.yaml names which count, relative to it."""
    top = folder / path
    found = (
        Path(parent, name).relative_to(top).as_posix()
        for parent, _, names in os.walk(top)
        for name in names
    )
    return counted(path, found)


def counted(folder: str, paths: Iterable[str]) -> list[str]:
    """Return those of a folder's files that .dvcignore does not leave out."""
    is_code = CODE.match(folder) is not None
    return [
        path
        for path in paths
        if not JUNK_NAMES & set(path.split("/"))
        and not path.endswith(JUNK_ENDINGS)
        and (not is_code or path.endswith(CODE_SUFFIXES))
    ]


def locked_hashes(folder: Path) -> dict[str, str]:
    """Return the md5 of every output that `folder`/dvc.lock records, by its path there."""
    return hashes_in(read_yaml(folder / LOCK)) if (folder / LOCK).exists() else {}


def hashes_in(lock: Mapping[str, Any]) -> dict[str, str]:
    """Return the md5 of every output that the content of a dvc.lock records, by its path there."""
    stages = lock.get("stages", {})
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def _stage(name: str, stage: Mapping[str, Any], params: Mapping[str, Any]) -> Stage:
    def filled(text: str) -> str:
        return TEMPLATE.sub(lambda found: str(value_at(params, found[1])), text)

    outs = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return Stage(
        name=name,
        cmd=filled(stage.get("cmd", "")),  # DVC says what is wrong if there is none
        params=[_only_key(param) for param in stage.get("params", [])],
        deps=[filled(dep) for dep in stage["deps"]],
        outs=[_only_key(out) for out in outs],
        cached=[_only_key(out) for out in outs if _is_cached(out)],
    )


def _is_cached(out: str | dict[str, Any]) -> bool:
    return isinstance(out, str) or bool(out[_only_key(out)].get("cache", True))


def _only_key(entry: str | dict[str, Any]) -> str:
    return entry if isinstance(entry, str) else next(iter(entry))
