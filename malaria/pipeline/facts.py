"""What a stage is about to run on: its entry in dvc.lock so far, and what it belongs to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from malaria.core.environment import check_backend
from malaria.core.params import flatten
from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.paths import PARAMS
from malaria.pipeline.git import commit_of
from malaria.pipeline.identity import Parts, digest_of, parts_now
from malaria.pipeline.lock import Entry, entry_before
from malaria.pipeline.stages import (
    Stage,
    code_of,
    in_repo,
    locked_hashes,
    md5_at,
    place,
    read_stages,
    values_of,
)

CHECKPOINTS = ".dvc/tmp/checkpoints"  # neither Git nor `dvc exp` looks there
PACKAGE = "malaria"  # lies in the checkout, and is linked into the pipelines' folders


@dataclass(frozen=True)
class StageFacts:
    """A stage that is about to run in a pipeline's folder."""

    stage: Stage
    entry: Entry  # as dvc.lock will have it, without outputs
    parts: Parts  # of the whole pipeline
    code: Mapping[str, str]  # md5 by path in the repository
    data: Mapping[str, str]  # md5 by path in the repository, of what other stages made
    checkout: Path
    repository: Path  # the main repository, also from a temporary checkout
    dvc_experiment: str | None

    @property
    def params(self) -> dict[str, Any]:
        """The stage's params by their dotted keys."""
        return flatten(self.entry.params)

    @cached_property
    def identity(self) -> str:
        """The identity of the experiment."""
        return digest_of(self.parts)

    @cached_property
    def key(self) -> str:
        """The digest of all that defines what the stage does."""
        return key_of(self.entry)

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints of trainings."""
        return self.repository / CHECKPOINTS

    @property
    def commit(self) -> str:
        """The commit that is checked out, '' where Git does not say."""
        return self._head[0]

    @property
    def git_fault(self) -> str:
        """Why Git does not say the commit, '' where it does."""
        return self._head[1]

    @cached_property
    def _head(self) -> tuple[str, str]:
        try:
            return commit_of(self.checkout, "HEAD"), ""
        except MalariaError as error:
            return "", str(error)


@dataclass(frozen=True)
class Origin:
    """What a run was made from: its params, and the md5 of code and data by path."""

    params: Mapping[str, Any]
    code: Mapping[str, str]
    data: Mapping[str, str]


def read_facts(folder: Path, name: str, params: Mapping[str, Any]) -> StageFacts:
    """Return the facts of a stage that is about to run in `folder`.

    `params` is the content of params.yaml. Raises MalariaError for a dep that is not readable.
    """
    folder = folder.resolve()
    checkout = _repository_of(folder)
    stages = read_stages(folder, params)
    stage = stages[name]
    code = code_of(stage, stages.values())
    locked = locked_hashes(folder)
    deps = {
        dep: md5_at(folder, dep) if dep in code or dep not in locked else locked[dep]
        for dep in stage.deps
    }
    in_folder = in_repo(".", folder, checkout)
    # In a temporary checkout, DVC_ROOT still names the folder in the main repository.
    main = os.environ.get("DVC_ROOT")
    return StageFacts(
        stage,
        Entry(in_folder, name, entry_before(stage, values_of(stage, params), deps, folder)),
        parts_now(folder, params),
        {place(in_folder, dep): deps[dep] for dep in deps if dep in code},
        {place(in_folder, dep): deps[dep] for dep in deps if dep not in code},
        checkout,
        _repository_of(Path(main)) if main else checkout,
        os.environ.get("DVC_EXP_NAME"),
    )


def key_of(entry: Entry) -> str:
    """Return the digest of all that defines what a stage does: params, code, data, versions."""
    inputs = {entry.place(dep.path): dep.md5 for dep in entry.deps}
    return digest_of({"params": flatten(entry.params), "inputs": inputs, "versions": _versions()})


def read_origin(folder: Path, name: str) -> Origin:
    """Return what the inputs of a stage were made from; its own results are left out."""
    facts = read_facts(folder, name, read_yaml(folder / PARAMS))
    data = {path: md5 for path, md5 in facts.data.items() if "reports/" not in path}
    return Origin(facts.params, facts.code, data)


def _repository_of(folder: Path) -> Path:
    """Return the repository of a pipeline's folder, by the link to the package in it."""
    return (folder / PACKAGE).resolve().parent


def _versions() -> dict[str, str]:
    """Return the versions of what computes: a checkpoint is resumed only under the same ones."""
    backend = check_backend()
    return {"backend": backend} | {name: version(name) for name in ("keras", "numpy", backend)}
