"""The report of the tiny demo: its numbers, its pictures, and that it needs no network."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from malaria.data.images import RESIZED
from malaria.evaluation.names import name_of
from malaria.report.page import number

from .conftest import Checkout

VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """What a page holds: its tables as rows of cells' texts and digits, pictures, and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.digits: list[list[str]] = []
        self.pictures: list[dict[str, str | None]] = []
        self.links: list[str | None] = []
        self.ids: list[str | None] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.digits.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "data" and "tr" in self.open:
            self.digits[-1].append(values["value"] or "")
        elif tag == "img":
            self.pictures.append(values)
        self.links += [values[key] for key in ("href", "src") if key in values]
        self.ids += [values["id"]] if "id" in values else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += " ".join(data.split())


@pytest.fixture(scope="module")
def text(finished: Checkout) -> str:
    return (finished.demo / "reports/report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_report_and_the_card_have_the_digits_of_the_metrics(
    finished: Checkout, page: Page
) -> None:
    metrics = json.loads((finished.demo / "reports/metrics.json").read_text())
    card = (finished.demo / "reports/model_card.md").read_text()
    names = [name for name in metrics["test"] if name not in ("n_cells", "n_patients", "threshold")]
    for name in names:
        label = name_of(name)
        row = next(number for number, cells in enumerate(page.rows) if cells and cells[0] == label)
        expected = [metrics[split][name] for split in ("val", "test")]
        assert [float(digits) for digits in page.digits[row][:2]] == expected
        for split, cell in zip(("val", "test"), page.rows[row][1:3], strict=True):
            assert cell.startswith(number(float(metrics[split][name])))
        line = next(line for line in card.splitlines() if line.startswith(f"| {label} | "))
        shown = re.findall(r"\| (-?\d+\.\d+)(?: \(|; )", line)
        assert shown == [number(float(value)) for value in expected]


def test_the_card_says_how_a_crop_is_resized(finished: Checkout) -> None:
    card = " ".join((finished.demo / "reports/model_card.md").read_text().split())
    assert f"`from malaria.data.images import resize`: {RESIZED};" in card


def test_the_page_needs_nothing_from_outside(page: Page) -> None:
    for link in page.links:
        assert link is not None
        assert link.startswith(("#", "data:image/webp;base64,"))
        assert not link.startswith("#") or link[1:] in page.ids


def test_every_picture_says_what_it_shows(page: Page) -> None:
    described = [picture["alt"] for picture in page.pictures]
    assert len(described) > 10
    assert all(alt and len(alt) > 20 for alt in described)


def test_groups_and_patients_are_those_of_the_tables(finished: Checkout, page: Page) -> None:
    tables = finished.demo / "reports/tables"
    groups = pd.read_csv(tables / "groups.csv").drop_duplicates(["group", "value"])
    first = [row[0] for row in page.rows if row]
    for group in groups.itertuples():
        assert f"{group.group}: {group.value}" in first
    worst = pd.read_csv(tables / "patients.csv")["patient"].head(10)
    assert set(worst) <= set(first)


def test_params_code_and_data_are_identified(finished: Checkout, page: Page) -> None:
    second = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert second["split.unit"] == "patient"
    assert second["train.epochs"] == "2"
    for path in ("stages", "malaria/core", "malaria/training", "malaria/evaluation"):
        assert re.fullmatch(r"[0-9a-f]{32}\.dir", second[path])
    for path in ("demo/data/cells.csv", "demo/data/raw/cell_images.zip", "demo/models/model.keras"):
        assert re.fullmatch(r"[0-9a-f]{32}", second[path])
    assert not any("/reports/" in path for path in second)
    assert second["keras"]


def test_synthetic_cells_are_called_so(text: str, finished: Checkout) -> None:
    card = (finished.demo / "reports/model_card.md").read_text()
    for content in (text, card):
        assert "The cells are synthetic" in content
        assert "Chittagong" not in content
