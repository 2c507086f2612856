"""What the served model takes and refuses; tests/end_to_end/test_registry.py has a real server."""

import base64
import json
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.pyfunc.scoring_server import invocations
from packaging.utils import canonicalize_name

from malaria.data.images import resize
from malaria.models.base.saved import save_model
from malaria.registry.classifier import Classifier
from malaria.registry.register import REQUIREMENTS
from malaria.registry.serving import (
    MAX_CELLS,
    MAX_PIXELS,
    MAX_REQUEST_BYTES,
    CellModel,
    Refusal,
    _load_pyfunc,
)
from tests.conftest import png, random_images
from tests.models.test_saved import SIZE, small_model
from tests.test_house import closure, imported

SIDE = 48
PIXELS = random_images(2, SIDE)
PIXELS[:, :, :9] = 0  # the background of a cell
TEXTS = [base64.b64encode(png(image)).decode() for image in PIXELS]


def brightness(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (images[rows].mean(axis=(1, 2, 3)) - 127) / 10


MODEL = CellModel(Classifier(SIZE, 0.5, brightness))


def refusal(content: Any) -> str:
    with pytest.raises(Refusal) as caught:
        MODEL.predict(content)
    caught.value.message = f"Failed to predict data {content}"  # as MLflow's server has it
    answer = json.loads(caught.value.serialize_as_json())
    assert caught.value.get_http_status_code() == 400
    assert answer["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "\n" not in answer["message"]
    return str(answer["message"])


@pytest.mark.parametrize(
    "content",
    [
        pd.DataFrame({"image": TEXTS}),
        pd.DataFrame({"image": [TEXTS[0], PIXELS[1].tolist()]}),
        pd.DataFrame({"image": [png(image) for image in PIXELS]}),
        {"image": np.array(TEXTS)},
        {"image": list(PIXELS)},
        np.array(TEXTS),
        TEXTS,
        PIXELS,
        PIXELS.tolist(),
        PIXELS.astype("int64"),
    ],
)
def test_all_ways_to_send_a_cell_are_answered_alike(content: Any) -> None:
    answer = MODEL.predict(content)
    small = np.stack([resize(image, SIZE) for image in PIXELS])
    expected = MODEL._classifier.classify(small)
    pd.testing.assert_frame_equal(answer, expected)
    assert list(answer) == ["probability", "label", "threshold"]


def test_cells_of_several_sizes_go_together() -> None:
    answer = MODEL.predict(pd.DataFrame({"image": [TEXTS[0], PIXELS[0][:9, :7].tolist()]}))
    assert len(answer) == 2


def test_a_cell_unlike_the_set_gets_a_warning_and_the_others_none() -> None:
    answer = MODEL.predict([PIXELS[0], PIXELS[0][:1, :1]])
    assert list(answer) == ["probability", "label", "threshold", "warning"]
    assert answer["warning"].tolist() == [
        "",
        "unlike any cell of the set (40 to 400 px a side, at least 10% black around the cell): it "
        "is 1 x 1 px",
    ]


def test_a_request_has_limits() -> None:
    dot = PIXELS[0][:1, :1]
    assert len(MODEL.predict([dot] * MAX_CELLS)) == MAX_CELLS
    said = refusal(np.zeros((400_000, 1, 1, 3), dtype=np.uint8))
    assert (
        said == "the request has 400000 cells, more than 1000; send the cells in several requests."
    )
    large = [png(np.zeros((2000, 2000, 3), dtype=np.uint8))] * (MAX_PIXELS // 4_000_000 + 1)
    assert refusal(large) == (
        "the request has more than 64000000 pixels; send the cells in several requests."
    )


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], str]:
    """Give what MLflow's server says to a body, once it has loaded a model."""
    parse = scoring_server._decode_json_input
    monkeypatch.setattr(scoring_server, "_decode_json_input", parse)  # so that it is put back
    save_model(small_model(), tmp_path / "model.keras")
    (tmp_path / "metrics.json").write_text('{"val": {"threshold": 0.3}, "test": {}}')
    model = PyFuncModel(Model(), _load_pyfunc(str(tmp_path)))
    _load_pyfunc(str(tmp_path))  # a second model changes nothing more

    def ask(body: bytes) -> str:
        try:
            return str(invocations(body, "application/json", model, None).response)
        except MlflowException as error:
            said = str(json.loads(error.serialize_as_json())["message"])
            return said if error.get_http_status_code() == 400 else "not 400"

    return ask


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "the request is nested too deep; ",
        ),
        (
            b'{"inputs": [[[[' + b"1" * 10_000 + b", 1, 1]]]]}",
            "the request cannot be read (Exceeds",
        ),
        (
            b'{"inputs": [[[[' + b"1" * 4000 + b", 1, 1]]]]}",
            "cell 1 has values of the type object,",
        ),
        (b'{"inputs": ' + b"[" * 90 + b"]" * 90 + b"}", "Invalid input. setting an"),
        (b" " * MAX_REQUEST_BYTES + b'{"inputs": []}', "the request has more than 33554432 bytes;"),
        (b"no JSON", "Invalid input. Ensure that input is a valid JSON formatted string"),
    ],
)
def test_a_body_that_json_gives_up_on_is_refused_with_a_sentence(
    body: bytes, said: str, serve: Callable[[bytes], str]
) -> None:
    assert serve(body).startswith(said)
    answered = json.loads(serve(json.dumps({"inputs": TEXTS}).encode()))
    assert len(answered["predictions"]) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (PIXELS[0], "cell 1 has the shape 48 x 3, not height x width x 3; send {"),
        (PIXELS[..., :2], "cell 1 has the shape 48 x 48 x 2, not height x width x 3"),
        (PIXELS[:, :0], "cell 1 has the shape 0 x 48 x 3, not"),
        ([PIXELS[0], PIXELS[None, 1]], "cell 2 has the shape 1 x 48 x 48 x 3, not"),
        (np.zeros((1, 2001, 4, 3), dtype=np.uint8), "cell 1 is larger than 2000 px a side"),
        (PIXELS / 255, "cell 1 has values of the type float64, not uint8"),
        (PIXELS > 9, "cell 1 has values of the type bool, not uint8"),
        (PIXELS.astype(int) - 1, "cell 1 has values from -1 to 254, not uint8"),
        (PIXELS.astype(int) + 300, "cell 1 has values from 300 to 555, not uint8"),
        ([[[1, 2], [3]]], "cell 1 has rows of different lengths"),
        ([None], "cell 1 is the single value None; send {"),
        ([TEXTS[0], "no base64"], "cell 2 is a text, but not the base64 of an image file"),
        ([TEXTS[0][:400]], "'cell 1' does not decode"),
        ([base64.b64encode(b"text").decode()], "'cell 1' is not a PNG, JPEG or TIFF"),
        (TEXTS[0], "the content is not a list of cells"),
        (7, "the content is not a list of cells"),
        (np.array(7), "the content is not a list of cells"),
        ([], "the request has no cells; send {"),
        (pd.DataFrame({"picture": TEXTS}), "the columns are picture; send {"),
        (pd.DataFrame({"image": TEXTS, "id": 1}), "the columns are image, id; send {"),
        ({}, "the columns are none; send {"),
    ],
)
def test_what_is_not_a_cell_is_refused_with_a_sentence(content: Any, said: str) -> None:
    assert said in refusal(content)


def test_a_folder_of_model_and_metrics_is_loaded(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "model.keras")
    (tmp_path / "metrics.json").write_text('{"val": {"threshold": 0.3}, "test": {}}')
    answer = _load_pyfunc(str(tmp_path)).predict(PIXELS)
    assert set(answer["threshold"]) == {0.3}


def test_what_goes_with_a_model_is_what_the_served_code_imports() -> None:
    """Of all modules below malaria/registry/serving.py, imported at the top or in a function."""
    modules = set().union(*map(imported, closure("malaria/registry/serving.py")))
    tops = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)
    known = packages_distributions()
    needed = {canonicalize_name(known[name][0]) for name in tops - {"malaria", "mlflow"}}
    assert needed == set(REQUIREMENTS) - {"tensorflow"}  # which Keras imports
