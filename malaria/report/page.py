"""Pages that open without network: templates, readable numbers, embedded pictures."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

PACKAGE = Path(__file__).resolve().parents[1]
# The report's, and those of the packages above it.
TEMPLATES = [PACKAGE / folder for folder in ("report/templates", "gate", "studies")]


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
    environment.filters |= {f.__name__: f for f in (number, picture, data, interval)}
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


def picture(path: Path) -> str:
    """Return a PNG file as a data URL."""
    return png_address(path.read_bytes())


def png_address(content: bytes) -> str:
    """Return the bytes of a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
