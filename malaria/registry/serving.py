"""The model that MLflow serves: cells as PNG, JPEG, TIFF or arrays in, the classifier's answer out.

MLflow imports this module by its name from the copy of the package that is stored with the model,
so a server needs no checkout and preprocesses with the code that evaluated the model.
"""

import base64
import binascii
import functools
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from malaria.data.images import resize
from malaria.data.likeness import LIKE, unlikeness
from malaria.data.pictures import decode
from malaria.data.remedies import MAX_SIDE
from malaria.errors import MalariaError
from malaria.evaluation.metrics import threshold_in
from malaria.registry.classifier import Classifier, open_classifier

MODEL = "model.keras"
METRICS = "metrics.json"
COLUMN = "image"
WARNING = "warning"
# Of one request: what a server with 2 GB answers in a second or two. Its memory grows with the
# number of cells, its time with the pixels of all of them.
MAX_CELLS = 1000
MAX_PIXELS = 64_000_000
MAX_REQUEST_BYTES = 32 << 20
HOW = (
    'send {"dataframe_records": [{"image": ...}]} with a file in base64 or an array (height, '
    'width, 3) of whole numbers from 0 to 255 for each cell, or {"inputs": [...]} with a list of '
    "these"
)
UINT8 = "uint8 (whole numbers from 0 to 255)"
SEVERAL = "send the cells in several requests"
SERVER = "mlflow.pyfunc.scoring_server"


class Refusal(MlflowException):
    """What the sender has to correct: the server answers 400 and only this sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, error_code=INVALID_PARAMETER_VALUE)
        self._sentence = sentence

    def serialize_as_json(self) -> str:
        """Return the answer's body, without the request that the server puts before it."""
        self.message = self._sentence
        return cast("str", super().serialize_as_json())


class CellModel:
    """What MLflow calls with a request's content."""

    def __init__(self, classifier: Classifier) -> None:
        """Nothing is kept between calls."""
        self._classifier = classifier

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return probability, label and threshold, one row per cell.

        If some are unlike all cells of the set, there is a column `warning`, which says in what.
        `model_input` is a table with the column `image`, an array (N, H, W, 3), or a list with one
        item per cell: an image file in base64, its bytes, or an array (H, W, 3). `params` is part
        of MLflow's interface and not used. Raises Refusal, which names the cell.
        """
        cells = _cells(model_input)
        if not cells:
            raise Refusal(f"the request has no cells; {HOW}.")
        if len(cells) > MAX_CELLS:
            raise Refusal(f"the request has {len(cells)} cells, more than {MAX_CELLS}; {SEVERAL}.")
        images, odd, count = [], [], 0
        for row, cell in enumerate(cells, start=1):
            pixels = _pixels(cell, f"cell {row}")
            count += pixels.shape[0] * pixels.shape[1]
            if count > MAX_PIXELS:
                raise Refusal(f"the request has more than {MAX_PIXELS} pixels; {SEVERAL}.")
            images.append(resize(pixels, self._classifier.size))
            odd.append(unlikeness(pixels))
        answer = self._classifier.classify(np.stack(images))
        said = [f"unlike any cell of the set ({LIKE}): it {one}" if one else "" for one in odd]
        return answer.assign(**{WARNING: said}) if any(odd) else answer


def _load_pyfunc(path: str) -> CellModel:
    """Return the model in a folder; MLflow looks for this name."""
    _refuse_bad_json()
    metrics = Path(path, METRICS)
    threshold = threshold_in(json.loads(metrics.read_text()), metrics)
    return CellModel(open_classifier(Path(path, MODEL), threshold))


def _refuse_bad_json() -> None:
    """Let MLflow's server refuse a request that is too large or that Python's JSON gives up on.

    It answers 500 otherwise: nesting of a thousand levels and integers of 5,000 digits are other
    errors than those that it expects. Nothing changes where a model is loaded without a server.
    """
    server = sys.modules.get(SERVER)
    parse = getattr(server, "_decode_json_input", None)
    if parse is None or hasattr(parse, "__wrapped__"):
        return

    @functools.wraps(parse)
    def parse_or_refuse(text: Any) -> Any:
        if len(text) > MAX_REQUEST_BYTES:
            raise Refusal(f"the request has more than {MAX_REQUEST_BYTES} bytes; {SEVERAL}.")
        try:
            return parse(text)
        except RecursionError:
            raise Refusal(f"the request is nested too deep; {HOW}.") from None
        except ValueError as error:  # an MlflowException is none
            reason = str(error).split(";")[0]
            raise Refusal(f"the request cannot be read ({reason}); {HOW}.") from None

    server._decode_json_input = parse_or_refuse  # type: ignore[union-attr]


def _cells(content: Any) -> list[Any]:
    if isinstance(content, pd.DataFrame):
        content = {str(name): content[name] for name in content}
    if isinstance(content, Mapping):
        if list(content) != [COLUMN]:
            raise Refusal(f"the columns are {', '.join(map(str, content)) or 'none'}; {HOW}.")
        content = content[COLUMN]
    is_scalar = isinstance(content, str | bytes) or getattr(content, "ndim", 1) == 0
    if is_scalar or not isinstance(content, Iterable):
        raise Refusal(f"the content is not a list of cells; {HOW}.")
    return list(content)


def _pixels(cell: Any, name: str) -> np.ndarray:
    """Return the uint8 (H, W, 3) pixels of a cell; raises Refusal."""
    if isinstance(cell, str | bytes):
        return _decoded(cell, name)
    try:
        array = np.asarray(cell)
    except ValueError:
        raise Refusal(f"{name} has rows of different lengths; {HOW}.") from None
    if array.ndim == 0:
        fault = f"is the single value {str(cell)[:40]}; {HOW}"
    elif array.ndim != 3 or array.shape[2] != 3 or min(array.shape) == 0:
        shape = " x ".join(map(str, array.shape))
        fault = f"has the shape {shape}, not height x width x 3; {HOW}"
    elif max(array.shape) > MAX_SIDE:
        fault = f"is larger than {MAX_SIDE} px a side; crop it to one cell"
    elif not np.issubdtype(array.dtype, np.integer):
        fault = f"has values of the type {array.dtype}, not {UINT8}"
    elif array.min() < 0 or array.max() > 255:
        fault = f"has values from {array.min()} to {array.max()}, not {UINT8}"
    else:
        return array.astype("uint8")
    raise Refusal(f"{name} {fault}.")


def _decoded(content: str | bytes, name: str) -> np.ndarray:
    try:
        raw = base64.b64decode(content, validate=True) if isinstance(content, str) else content
        return decode(raw, name)
    except (binascii.Error, ValueError):
        raise Refusal(f"{name} is a text, but not the base64 of an image file.") from None
    except MalariaError as error:
        raise Refusal(str(error)) from None
