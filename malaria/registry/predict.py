"""The predictions of a folder's evaluated model for cells in image files."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from malaria.errors import MalariaError
from malaria.prediction.table import DIGITS
from malaria.quiet_keras import held_back
from malaria.registry.crops import list_crops, write_crops
from malaria.registry.evaluated_model import read_evaluated_model


def predict_files(
    root: Path, folder: str, paths: Sequence[Path], tell: Callable[[str], object]
) -> tuple[pd.DataFrame, str]:
    """Return file, probability, label and threshold, one row per image file, and a warning.

    The warning is '' if all files look like cells of the set.

    `folder` has the model and is relative to the repository; `paths` are files and folders of
    them. What is missing is reported before Keras starts, which `tell` is told, and all files are
    decoded before the first is predicted, so a damaged one is reported early. Raises MalariaError
    for a folder without an evaluated model, and for files that are not crops.
    """
    files = list_crops(paths)
    evaluated = read_evaluated_model(root, folder)
    tell("Keras starts and loads the model")
    with held_back():
        from malaria.registry.classifier import open_classifier

    classifier = open_classifier(evaluated.model, evaluated.threshold)
    with tempfile.TemporaryDirectory(prefix="malaria-") as scratch:
        images = Path(scratch, "images.npy")
        warning = write_crops(files, classifier.size, images)
        answer = classifier.classify(np.load(images, mmap_mode="r"))
    answer.insert(0, "file", [str(file) for file in files])
    return answer, warning


def to_text(answer: pd.DataFrame, as_json: bool) -> str:
    """Return the answer as CSV or as a JSON list of objects."""
    if as_json:
        return json.dumps(answer.to_dict("records"), indent=2, ensure_ascii=False) + "\n"
    return str(answer.to_csv(index=False, float_format=f"%.{DIGITS}f", lineterminator="\n"))


def check_output(output: Path) -> None:
    """Raise MalariaError if a file could not be written there, minutes before it would."""
    if output.is_dir() or not output.absolute().parent.is_dir():
        what = "is a folder" if output.is_dir() else "is in a folder that does not exist"
        raise MalariaError(f"--output {output} {what}; name a file in a folder that does.")
