"""Numbers and pictures on a page."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError
from PIL import Image
from scipy.ndimage import gaussian_filter

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


@pytest.mark.parametrize(("is_plot", "farthest"), [(True, 0), (False, 20)])
def test_a_picture_is_embedded_with_its_size_and_smaller(
    tmp_path: Path, is_plot: bool, farthest: int
) -> None:
    pixels = np.full((60, 80, 3), 255, dtype="uint8")
    if is_plot:
        pixels[30] = 0  # a line, which survives to the last bit
    else:
        noise = np.random.default_rng(0).normal(scale=30, size=pixels.shape)
        pixels = (120 + gaussian_filter(noise, (2, 2, 0))).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    attributes = picture(tmp_path / "a.png")
    found = re.fullmatch(r'src="data:image/webp;base64,(.*)" width="80" height="60"', attributes)
    assert found is not None
    content = base64.b64decode(found[1])
    assert len(content) < (tmp_path / "a.png").stat().st_size
    seen = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert abs(seen - pixels).max() <= farthest


def test_a_missing_value_of_a_template_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="warning"):
        render("audit.html.j2", title="title")
