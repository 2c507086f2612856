"""The pilot's committed report, looked at in a real browser at the widths of a desk and a phone."""

import pytest
from playwright.sync_api import Browser

from tests.conftest import REPO

from .test_browser import browser

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.slow
ADDRESS = (REPO / "pilot/reports/report.html").as_uri()
CUT = "tables => tables.filter(one => one.scrollWidth > one.clientWidth).length"
BEYOND = "document.documentElement.scrollWidth - innerWidth"


def test_on_a_desk_no_table_is_cut(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(ADDRESS)
    assert page.locator(".wide").count() > 10
    assert page.locator(".wide").evaluate_all(CUT) == 0
    assert page.evaluate(BEYOND) <= 0


def test_on_a_phone_tables_scroll_and_a_tap_enlarges_a_figure(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(ADDRESS)
    assert page.evaluate(BEYOND) <= 0  # the page itself does not scroll sideways
    assert page.locator(".wide").evaluate_all(CUT) > 3
    figure = page.locator("figure img").first
    widths = []
    for _ in range(3):
        box = figure.bounding_box()
        assert box is not None
        widths.append(box["width"])
        figure.tap()
    assert widths[0] < 390 < 900 < widths[1]
    assert widths[2] == widths[0]
    assert page.evaluate(BEYOND) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_goes_on_has_a_shadow_until_its_end(browser: Browser, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(ADDRESS)
    table = page.locator(".wide").nth(1)
    table.scroll_into_view_if_needed()
    table.locator("tr").evaluate_all("rows => rows.forEach(row => row.style.visibility = 'hidden')")
    box = table.bounding_box()
    assert box is not None
    right, top = box["x"] + box["width"], box["y"] + 20

    def edge() -> bytes:
        return page.screenshot(clip={"x": right - 4, "y": top, "width": 4, "height": 20})

    begun = edge()
    table.evaluate("one => one.scrollLeft = one.scrollWidth")
    assert edge() != begun
