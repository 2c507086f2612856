"""The cells of a pipeline's folder, for commands that work on them."""

from pathlib import Path

from malaria.errors import MalariaError
from malaria.paths import CELLS, IMAGES, ORDER, dvc
from malaria.pipeline.stages import place


def check_data(base: Path, folder: str) -> None:
    """Raise MalariaError if a pipeline lacks its cells; `folder` is its name in messages."""
    for path in (CELLS, IMAGES, ORDER):
        if not (base / path).exists():
            remedy = dvc(folder, "repro split preprocess")
            raise MalariaError(f"{place(folder, path)} is missing; make it with `{remedy}`.")
