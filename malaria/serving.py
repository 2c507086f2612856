"""The model that MLflow serves: cells as PNG, JPEG, TIFF or arrays in, the classifier's answer out.

MLflow imports this module by its name from the copy of the package that lies beside the model, so
a server needs no checkout, and preprocesses as the code did that evaluated the model.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from malaria.archive import MAX_SIDE
from malaria.classifier import Classifier, open_classifier
from malaria.crops import decode_crop
from malaria.errors import MalariaError
from malaria.images import resize
from malaria.operating_point import threshold_in

MODEL = "model.keras"
METRICS = "metrics.json"
COLUMN = "image"
HOW = (
    'send {"dataframe_records": [{"image": ...}]} with a file in base64 or an array (height, '
    'width, 3) of whole numbers from 0 to 255 for each cell, or {"inputs": [...]} with a list of '
    "these"
)


class Refusal(MlflowException):
    """What the sender has to mend: the server answers 400 and the sentence alone."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, error_code=INVALID_PARAMETER_VALUE)
        self._sentence = sentence

    def serialize_as_json(self) -> str:
        """Return the answer's body; the server has put all of the request before the sentence."""
        self.message = self._sentence
        return cast("str", super().serialize_as_json())


class CellModel:
    """What MLflow calls with a request's content."""

    def __init__(self, classifier: Classifier) -> None:
        """It only answers; nothing is kept between calls."""
        self._classifier = classifier

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return probability, label and threshold, one row a cell.

        `model_input` is a table with the column `image`, an array (N, H, W, 3), or a list with one
        item a cell: an image file in base64, its bytes, or an array (H, W, 3). `params` is MLflow's
        and has no use here. Raises Refusal, which names the cell.
        """
        cells = _cells(model_input)
        if not cells:
            raise Refusal(f"there is no cell in the request; {HOW}.")
        size = self._classifier.size
        images = np.stack(
            [resize(_pixels(cell, f"cell {row}"), size) for row, cell in enumerate(cells, start=1)]
        )
        return self._classifier.classify(images)


def _load_pyfunc(path: str) -> CellModel:
    """Return the model in a folder; MLflow looks for this name."""
    metrics = Path(path, METRICS)
    threshold = threshold_in(json.loads(metrics.read_text()), metrics)
    return CellModel(open_classifier(Path(path, MODEL), threshold))


def _cells(content: Any) -> list[Any]:
    if isinstance(content, pd.DataFrame):
        content = {str(name): content[name] for name in content}
    if isinstance(content, Mapping):
        if list(content) != [COLUMN]:
            raise Refusal(f"the columns are {', '.join(map(str, content)) or 'none'}; {HOW}.")
        content = content[COLUMN]
    if isinstance(content, str | bytes) or not isinstance(content, Iterable) or _ndim(content) == 0:
        raise Refusal(f"the content is no list of cells; {HOW}.")
    return list(content)


def _pixels(cell: Any, name: str) -> np.ndarray:
    """Return uint8 (H, W, 3) pixels."""
    if isinstance(cell, str | bytes):
        return _decoded(cell, name)
    try:
        array = np.asarray(cell)
    except ValueError:
        raise Refusal(f"{name} has rows of different lengths; {HOW}.") from None
    if array.ndim == 0:
        raise Refusal(f"{name} is the single value {str(cell)[:40]}; {HOW}.")
    if array.ndim != 3 or array.shape[2] != 3 or min(array.shape) == 0:
        shape = " x ".join(map(str, array.shape))
        raise Refusal(f"{name} has the shape {shape}, not height x width x 3; {HOW}.")
    if max(array.shape) > MAX_SIDE:
        raise Refusal(f"{name} is larger than {MAX_SIDE} px a side; crop it to one cell.")
    if not np.issubdtype(array.dtype, np.integer):
        raise Refusal(
            f"{name} has values of the type {array.dtype}, not uint8 (whole numbers from 0 to 255)."
        )
    if array.min() < 0 or array.max() > 255:
        raise Refusal(
            f"{name} has values from {array.min()} to {array.max()}, not uint8 (whole numbers from "
            "0 to 255)."
        )
    return array.astype("uint8")


def _decoded(content: str | bytes, name: str) -> np.ndarray:
    try:
        raw = base64.b64decode(content, validate=True) if isinstance(content, str) else content
        return decode_crop(raw, name)
    except (binascii.Error, ValueError):
        raise Refusal(f"{name} is a text, but not the base64 of an image file.") from None
    except MalariaError as error:
        raise Refusal(str(error)) from None


def _ndim(content: Any) -> int:
    return content.ndim if isinstance(content, np.ndarray) else 1
