"""Numbers and pictures on a page."""

import base64
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError

from malaria.report.page import data, interval, number, picture, records, render


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (1234567, "1,234,567"), (0.9494, "0.949"), (12.0, "12.000"), (0, "0")],
)
def test_numbers_are_readable(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_number_carries_all_its_digits() -> None:
    assert data(0.949487) == '<data value="0.949487">0.949</data>'
    assert data(None) == "-"


def test_an_interval_or_the_reason_why_there_is_none() -> None:
    assert interval({"low": 0.1234, "high": 0.5, "reason": None}) == "0.123 to 0.500"
    assert interval({"low": None, "high": None, "reason": "of one"}) == "of one"


def test_a_missing_value_is_none() -> None:
    table = pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan], "c": ["x", None]})
    assert records(table) == [{"a": 1, "b": 0.5, "c": "x"}, {"a": 2, "b": None, "c": None}]


def test_a_picture_is_embedded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    address = picture(tmp_path / "a.png")
    assert base64.b64decode(address.removeprefix("data:image/png;base64,")) == b"\x89PNG"


def test_a_missing_value_of_a_template_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="cells"):
        render("audit.html.j2", title="title")
