"""The identity of an experiment: the params and code of all stages, whatever came out of it.

It is known before the first stage runs, and again from a finished dvc.lock.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from malaria.core.params import flatten
from malaria.core.yaml_files import read_yaml
from malaria.paths import LOCK
from malaria.pipeline.stages import (
    Stage,
    code_of,
    hashes_in,
    md5_at,
    place,
    read_stages,
    values_of,
)

# By stage: its `params` by the keys of dvc.yaml, and the md5 of its `code` by path in the
# repository.
Parts = dict[str, dict[str, dict[str, Any]]]


def identity_of_lock(folder: Path) -> str:
    """Return the identity of the experiment that the finished `folder`/dvc.lock records."""
    return identity_in(read_yaml(folder / LOCK))


def identity_in(lock: Mapping[str, Any]) -> str:
    """Return the identity of the experiment that the content of a finished dvc.lock records."""
    return digest_of(locked_parts(lock["stages"], hashes_in(lock)))


def parts_now(folder: Path, params: Mapping[str, Any]) -> Parts:
    """Return what makes up the identity of the experiment that `folder` would run now.

    `params` is the content of params.yaml.
    """
    return parts_of(read_stages(folder, params), params, lambda path: md5_at(folder, path))


def parts_of(
    stages: Mapping[str, Stage], params: Mapping[str, Any], hash_of: Callable[[str], str]
) -> Parts:
    """Return the params of each stage, and the md5 of its code by path in the repository.

    `params` is the content of params.yaml, `hash_of` gives the md5 of a path of the folder.
    """
    return {
        stage.name: {
            "params": values_of(stage, params),
            "code": {place("", path): hash_of(path) for path in code_of(stage, stages.values())},
        }
        for stage in stages.values()
    }


def locked_parts(locked: Mapping[str, Any], made: Collection[str]) -> Parts:
    """Return what makes up an experiment's identity, of entries of a dvc.lock by stage.

    `made` are the paths that stages make; the other deps are code.
    """
    return {
        name: {
            "params": next(iter(stage.get("params", {"": {}}).values())),
            "code": {
                place("", dep["path"]): dep["md5"]
                for dep in stage["deps"]
                if dep["path"] not in made
            },
        }
        for name, stage in locked.items()
    }


def params_of(parts: Parts) -> dict[str, Any]:
    """Return the params of all stages by their dotted keys."""
    return flatten({key: value for part in parts.values() for key, value in part["params"].items()})


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
