"""The page of doubtful labels, used in a real browser by keys and buttons."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect, sync_playwright

from malaria.core.files import sha256_of
from malaria.data.corrections import read_corrections, read_list
from malaria.studies.audit import Page, doubtful, write_list, write_page
from tests.conftest import random_images
from tests.studies.test_audit import predictions

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def save(tab: Tab, path: Path) -> Path:
    with tab.expect_download() as started:
        tab.get_by_role("button", name="Save the list").click()
    assert started.value.suggested_filename == "cv.csv"
    started.value.save_as(path)
    return path


def test_a_person_decides_by_key_and_button_and_saves_the_list(tmp_path: Path) -> None:
    found_browsers = [path for path in map(shutil.which, BROWSERS) if path]
    if not found_browsers:
        pytest.skip("chromium is not installed")
    table = predictions()
    found, audit = doubtful(table), tmp_path / "audit"
    write_list(found, audit / "cv.csv")
    listed = read_list(audit / "cv.csv").assign(remark=['a "quoted", remark', "", ""])
    listed.to_csv(audit / "cv.csv", index=False, lineterminator="\n")
    rows = pd.Series(table.index, index=table["cell_id"])
    content = Page("Doubtful labels", "no judge", "pilot")
    write_page(found, random_images(len(table), 16), rows, audit / "cv.html", content)
    first, second, third = found["cell_id"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found_browsers[0], args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page()
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto((audit / "cv.html").as_uri())
        expect(tab.get_by_text("no judge")).to_be_visible()
        expect(tab.get_by_role("status")).to_have_text("0 of 3 decided")
        untouched = save(tab, tmp_path / "untouched.csv")
        assert untouched.read_bytes() == (audit / "cv.csv").read_bytes()
        tab.locator("li").first.focus()
        tab.keyboard.press("f")  # of the first, and on to the second
        tab.keyboard.press("d")
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("u")  # takes back that of the second
        tab.locator("li").nth(2).get_by_role("button", name="keep").click()
        expect(tab.get_by_role("status")).to_have_text("2 of 3 decided, not saved")
        saved = save(tab, tmp_path / "cv.csv")
        expect(tab.get_by_role("status")).to_have_text("2 of 3 decided")
        line = f"corrections: {{path: audit/cv.csv, sha256: {sha256_of(saved)}}}"
        expect(tab.locator("#line")).to_have_text(line)
        browser.close()
    assert not faults
    assert read_corrections(saved, table).to_dict() == {first: "flip", third: "keep"}
    others = [column for column in listed if column != "verdict"]
    assert read_list(saved)[others].to_numpy().tolist() == listed[others].to_numpy().tolist()
    assert second not in read_corrections(saved, table)
