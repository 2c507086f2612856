"""The evaluated model of a pipeline's folder, as its dvc.lock records it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malaria.errors import MalariaError
from malaria.evaluation.metrics import threshold_in
from malaria.paths import LOCK, METRICS, MODEL, dvc, from_remote
from malaria.pipeline.stages import locked_hashes, md5, place


@dataclass(frozen=True)
class EvaluatedModel:
    """A model and the results of its evaluation; every file has the MD5 in the lock."""

    folder: Path
    threshold: float
    metrics: Mapping[str, Any]  # the content of metrics.json
    hashes: Mapping[str, str]  # md5 of each output of the pipeline, by its path in the folder

    @property
    def model(self) -> Path:
        """The .keras file."""
        return self.folder / MODEL

    @property
    def model_md5(self) -> str:
        """The MD5 of the .keras file."""
        return self.hashes[MODEL]


def read_evaluated_model(root: Path, folder: str, *more: str) -> EvaluatedModel:
    """Return the evaluated model of a folder, so that model and threshold belong together.

    `folder` is relative to the repository. `more` are other outputs that must be there, by their
    paths in the folder. Raises MalariaError if nothing was run, and if a file is missing or is
    not that of the lock.
    """
    base = root / folder
    hashes = locked_hashes(base)
    lock, repro = place(folder, LOCK), dvc(folder, "repro")
    for path in (MODEL, METRICS, *more):
        shown = place(folder, path)
        if path not in hashes:
            raise MalariaError(f"{lock} records no {shown}; make it with `{repro}`.")
        if not (base / path).is_file():
            pull = from_remote(root, folder, "pull")
            fetch = f"fetch it with `{pull}`, or " if pull else ""
            raise MalariaError(f"{shown} is missing; {fetch}make it with `{repro}`.")
        found = md5(base / path)
        if found != hashes[path]:
            raise MalariaError(
                f"{shown} has the MD5 {found}, but {lock} records {hashes[path]}, so model and "
                "numbers may not belong together; restore it with "
                f"`{dvc(folder, 'checkout --force')}` or from Git, or run `{repro}`."
            )
    metrics = json.loads((base / METRICS).read_text())
    return EvaluatedModel(base, threshold_in(metrics, base / METRICS), metrics, hashes)
