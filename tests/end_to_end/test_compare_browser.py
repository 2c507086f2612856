"""The page of `malaria compare`, of two experiments of the demo, in a real browser."""

import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from .conftest import Checkout
from .test_browser import browser

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.slow
BEYOND = "document.documentElement.scrollWidth - innerWidth"
# Of an SVG's text: whether its box leaves that of the chart.
CUT = """charts => charts.flatMap(chart => [...chart.querySelectorAll('text')].filter(text => {
    const [own, all] = [text.getBoundingClientRect(), chart.getBoundingClientRect()];
    return own.left < all.left - 1 || own.right > all.right + 1 || own.bottom > all.bottom + 1;
}).map(text => text.textContent))"""
FONT = "text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a"


@pytest.fixture(scope="module")
def page(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = finished.copy(tmp_path_factory.mktemp("compare"))
    checkout.commit("results")
    checkout.dvc("exp", "run", "--name", "longer", "-S", "train.epochs=3", "evaluate")
    words = ("compare", "HEAD", "longer", "--folder", "demo")
    said = checkout.run(sys.executable, "-m", "malaria", *words)
    assert "the page is also in MLflow, at the row longer" in said.stderr
    return Path(said.stdout.splitlines()[-1])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_or_too_small(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page.as_uri())
    assert opened.evaluate(BEYOND) <= 0
    charts = opened.locator("svg.chart")
    assert charts.count() >= 6
    assert charts.evaluate_all(CUT) == []
    assert charts.first.locator("text").first.evaluate(FONT) >= 10
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    broken = "images => images.filter(one => one.naturalWidth === 0 || !one.alt).length"
    images = opened.locator("img")
    assert images.evaluate_all(broken) == 0
    text = opened.locator("body").inner_text()
    assert "No pictures" not in text
    assert "No heat maps" not in text
    opened.close()
