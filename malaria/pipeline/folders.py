"""Which pipeline of the repository a command works on."""

import os
from collections.abc import Sequence
from pathlib import Path

from malaria.errors import MalariaError
from malaria.paths import PIPELINE, PIPELINES, dvc


def find_folder(root: Path, given: str) -> str:
    """Return the pipeline's folder that a person named, relative to the repository.

    `given` is that, or an absolute path. Raises MalariaError if no pipeline lies there.
    """
    path = Path(os.path.normpath(root / given))
    if not path.is_relative_to(root) or not (path / PIPELINE).is_file():
        raise MalariaError(
            f"{given} has no dvc.yaml; name a folder with a pipeline ({', '.join(PIPELINES)})."
        )
    return path.relative_to(root).as_posix()


def folders_with(root: Path, path: str) -> list[str]:
    """Return the pipelines in which a file, as `models/model.keras`, is there."""
    return [folder for folder in PIPELINES if (root / folder / path).is_file()]


def default_folder(root: Path, here: Path, ready: Sequence[str], what: str) -> str:
    """Return the pipeline in whose folder a person works, else the only one that is `ready`.

    `what` is what the ready ones have. Raises MalariaError if none or several are ready.
    """
    own = [folder for folder in PIPELINES if folder != "." and here.is_relative_to(root / folder)]
    found = own or ready
    if not found:
        raise MalariaError(
            f"no pipeline has {what}; run one, as with `{dvc('demo', 'repro')}`, or name one with "
            f"--folder ({', '.join(PIPELINES)})."
        )
    if len(found) > 1:
        raise MalariaError(f"{' and '.join(found)} have {what}; choose one with --folder.")
    return found[0]
