"""Pages that open without network: templates, numbers as people read them, pictures inside."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


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
    environment.filters |= {
        "number": number,
        "picture": picture,
        "data": data,
        "interval": interval,
    }
    return environment.get_template(template).render(values)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows; what is missing is None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def number(value: float | None) -> str:
    """Return a count with commas, any other number with three digits; a dash for none."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}"


def data(value: float | None) -> Markup:
    """Return a number as people read it that carries its own digits for machines."""
    if value is None:
        return Markup("-")
    return Markup('<data value="{}">{}</data>').format(value, number(value))


def interval(row: Mapping[str, Any]) -> str:
    """Return the bounds of a row's interval, or the reason why there are none."""
    if row["low"] is None:
        return str(row["reason"])
    return f"{number(row['low'])} to {number(row['high'])}"


def picture(path: Path) -> str:
    """Return a PNG file as an address that holds it."""
    return png_address(path.read_bytes())


def png_address(content: bytes) -> str:
    """Return the bytes of a PNG as an address that holds them."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
