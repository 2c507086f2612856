"""Pages that open without network: templates, readable numbers, embedded pictures."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from malaria.evaluation.names import name_of

PACKAGE = Path(__file__).resolve().parents[1]
# The report's, and those of the packages above it.
TEMPLATES = [PACKAGE / folder for folder in ("report/templates", "gate", "studies", "compare")]
QUALITY = 85  # of 100, for a WebP with loss


def render(template: str, **values: Any) -> str:
    """Return the template filled in; values are escaped in HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {f.__name__: f for f in (number, picture, data, interval, name_of)}
    return environment.get_template(template).render(values)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows; a missing value is None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def number(value: float | None) -> str:
    """Return a count with commas, any other number with three decimals, and None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}"


def data(value: float | None) -> Markup:
    """Return a readable number that carries all its digits for machines."""
    if value is None:
        return Markup("-")
    return Markup('<data value="{}">{}</data>').format(value, number(value))


def interval(row: Mapping[str, Any]) -> str:
    """Return the bounds of a row's interval, or the reason why it has no bounds."""
    if row["low"] is None:
        return str(row["reason"])
    return f"{number(row['low'])} to {number(row['high'])}"


def picture(path: Path) -> Markup:
    """Return the attributes of an <img>: a PNG file as a data URL, and its size in pixels.

    The URL has a WebP, without loss (small for plots) or with little (for cells): the smaller one.
    """
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    content = min((_webp(image, lossless=True), _webp(image, quality=QUALITY)), key=len)
    attributes = Markup('src="{}" width="{}" height="{}"')
    return attributes.format(_address("webp", content), *image.size)


def webp_address(pixels: np.ndarray) -> str:
    """Return uint8 pixels (H, W, 3) as a data URL, with little loss."""
    return _address("webp", _webp(Image.fromarray(pixels), quality=QUALITY))


def png_address(content: bytes) -> str:
    """Return the bytes of a PNG as a data URL."""
    return _address("png", content)


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _webp(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()
