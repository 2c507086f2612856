"""The cells of a pipeline's folder, for commands that work on them."""

from pathlib import Path

from malaria.errors import MalariaError
from malaria.paths import CELLS, IMAGES, ORDER, dvc


def check_data(folder: Path, shown: str = "") -> None:
    """Raise MalariaError if a pipeline's folder lacks its cells; `shown` names it in messages."""
    for path in (folder / CELLS, folder / IMAGES, folder / ORDER):
        if not path.exists():
            remedy = dvc(shown or str(folder), "repro split preprocess")
            raise MalariaError(f"{path} is missing; make it with `{remedy}`.")
