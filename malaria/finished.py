"""The evaluated model of a pipeline's folder, as its dvc.lock records it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malaria.errors import MalariaError
from malaria.operating_point import threshold_in
from malaria.pipeline import LOCK, METRICS, in_repo, locked_hashes, md5

MODEL = "models/model.keras"
CARD = "reports/model_card.md"


@dataclass(frozen=True)
class Finished:
    """A model and what its evaluation left; every file has the MD5 of the lock."""

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


def read_finished(root: Path, folder: str, *more: str) -> Finished:
    """Return the evaluated model of a folder, so that model and threshold belong together.

    `folder` is seen from the root. `more` are other outputs that have to be there, by their paths
    in the folder. Raises MalariaError where nothing was run, and where a file is missing or is
    not that of the lock.
    """
    base = root / folder
    hashes = locked_hashes(base)
    lock, pipeline = (in_repo(name, base, root) for name in (LOCK, "dvc.yaml"))
    for path in (MODEL, METRICS, *more):
        shown = in_repo(path, base, root)
        if path not in hashes:
            raise MalariaError(
                f"{lock} records no {shown}; make it with `uv run dvc repro {pipeline}`."
            )
        if not (base / path).is_file():
            raise MalariaError(
                f"{shown} is missing; fetch it with `uv run dvc pull {pipeline}`, or make it with "
                f"`uv run dvc repro {pipeline}`."
            )
        found = md5(base / path)
        if found != hashes[path]:
            raise MalariaError(
                f"{shown} has the MD5 {found}, but {lock} records {hashes[path]}, so model and "
                "numbers may not belong together; bring it back with `uv run dvc checkout --force "
                f"{pipeline}` or from Git, or run `uv run dvc repro {pipeline}`."
            )
    metrics = json.loads((base / METRICS).read_text())
    return Finished(base, threshold_in(metrics, base / METRICS), metrics, hashes)
