"""What dvc.yaml and dvc.lock say of the pipeline, and the identity of an experiment.

Reads the files alone; no DVC is needed. Paths are given relative to the repository, in
POSIX form, whichever folder the pipeline lies in.
"""

import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from malaria.errors import MalariaError
from malaria.params.base import read_yaml
from malaria.params.study import REPO

PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"
METRICS = "reports/metrics.json"
PREDICTIONS = "reports/predictions.csv"
PIPELINES = (".", "pilot", "demo")  # the folders that hold a dvc.yaml, seen from the root

# By stage: its `params` by their dotted keys, and the md5 of its `code` by path in the repository.
# What an experiment is, whatever came out of it.
Parts = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml, its paths relative to the pipeline's folder."""

    name: str
    cmd: str
    params: list[str]  # keys of params.yaml, as in train.model
    deps: list[str]
    outs: list[str]
    cached: list[str]  # of the outs: those that DVC keeps, the others being in Git


def read_stages(folder: Path, repo: str) -> dict[str, Stage]:
    """Return the stages of `folder`/dvc.yaml, `${repo}` filled in."""
    return stages_of(read_yaml(folder / PIPELINE), repo)


def stages_of(pipeline: Mapping[str, Any], repo: str) -> dict[str, Stage]:
    """Return the stages that the content of a dvc.yaml names, `${repo}` filled in."""
    return {name: _stage(name, stage, repo) for name, stage in pipeline["stages"].items()}


def values_of(stage: Stage, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stage's params by their dotted keys; `params` is the content of params.yaml."""
    return {key: reduce(getitem, key.split("."), params) for key in stage.params}


def code_of(stage: Stage, stages: Iterable[Stage]) -> list[str]:
    """Return the stage's deps that no stage makes: its code."""
    made = {out for other in stages for out in other.outs}
    return [dep for dep in stage.deps if dep not in made]


def identity(folder: Path, params: dict[str, Any]) -> str:
    """Return the identity of the experiment that `folder` would run now.

    It is the SHA-256 of the params of all stages and the md5s of their code, so it is known
    before the first stage runs. `params` is the content of params.yaml.
    """
    return digest_of(parts_now(folder, params))


def parts_now(folder: Path, params: dict[str, Any]) -> Parts:
    """Return what makes up the identity of the experiment that `folder` would run now."""
    return parts_of(read_stages(folder, params[REPO]), params, lambda path: md5(folder / path))


def parts_of(
    stages: Mapping[str, Stage], params: Mapping[str, Any], hash_of: Callable[[str], str]
) -> Parts:
    """Return the params of each stage, and the md5 of its code by path in the repository.

    `params` is the content of params.yaml, `hash_of` gives the md5 of a path of the folder.
    """
    return {
        stage.name: {
            "params": values_of(stage, params),
            "code": {
                _in_repo(path, params[REPO]): hash_of(path)
                for path in code_of(stage, stages.values())
            },
        }
        for stage in stages.values()
    }


def identity_of_lock(folder: Path, repo: str) -> str:
    """Return the identity of the experiment that `folder`/dvc.lock records, whole."""
    locked = read_yaml(folder / LOCK)
    return digest_of(locked_parts(locked["stages"], repo, hashes_in(locked)))


def locked_parts(locked: Mapping[str, Any], repo: str, made: Collection[str]) -> Parts:
    """Return what makes up an experiment's identity, of entries of a dvc.lock by stage.

    `made` are the paths that stages make; the other deps are code.
    """
    return {
        name: {
            "params": next(iter(stage.get("params", {"": {}}).values())),
            "code": {
                _in_repo(dep["path"], repo): dep["md5"]
                for dep in stage["deps"]
                if dep["path"] not in made
            },
        }
        for name, stage in locked.items()
    }


def locked_hashes(folder: Path) -> dict[str, str]:
    """Return the md5 of every output that `folder`/dvc.lock records, by its path there."""
    return hashes_in(read_yaml(folder / LOCK)) if (folder / LOCK).exists() else {}


def hashes_in(lock: Mapping[str, Any]) -> dict[str, str]:
    """Return the md5 of every output that the content of a dvc.lock records, by its path there."""
    stages = lock.get("stages", {})
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def md5(path: Path) -> str:
    """Return the MD5 of a file, as dvc.lock gives it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise MalariaError(
            f"{path} cannot be read ({error.strerror}), but dvc.yaml names it; bring it back with "
            "`uv run dvc repro` if a stage makes it, else from Git."
        ) from None


def in_repo(path: str, folder: Path, root: Path) -> str:
    """Return a path of the pipeline's folder relative to the repository's root."""
    return Path(os.path.relpath((folder / path).resolve(), root.resolve())).as_posix()


def _stage(name: str, stage: Mapping[str, Any], repo: str) -> Stage:
    outs = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return Stage(
        name=name,
        cmd=stage.get("cmd", "").replace("${repo}", repo),  # without one, DVC tells what is wrong
        params=[_only_key(param) for param in stage.get("params", [])],
        deps=[dep.replace("${repo}", repo) for dep in stage["deps"]],
        outs=[_only_key(out) for out in outs],
        cached=[_only_key(out) for out in outs if _is_cached(out)],
    )


def _is_cached(out: str | dict[str, Any]) -> bool:
    return isinstance(out, str) or bool(out[_only_key(out)].get("cache", True))


def _in_repo(path: str, repo: str) -> str:
    # Code lies at ${repo}/..., so what follows `repo` is its place in the repository.
    return posixpath.relpath(path, repo)


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _only_key(entry: str | dict[str, Any]) -> str:
    return entry if isinstance(entry, str) else next(iter(entry))
