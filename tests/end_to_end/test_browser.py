"""`malaria ui`, looked at in a real browser."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from benchmarks.checkout import change_params
from tests.test_house import STAGES

from .conftest import Checkout, answer_of
from .store import lose_store, sync

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LIMIT_MS = 60_000
# MLflow asks each server who is logged in; one without users has no such address.
NO_USERS = "/ajax-api/2.0/mlflow/users/current"
# Its charts are laid out more than once a frame: no error, though Chromium names it.
LAID_OUT_TWICE = "ResizeObserver loop completed with undelivered notifications."
PAGE = re.compile(r"malaria-demo  (http://127\.0\.0\.1:\d+/#/experiments/\d+/runs\?\S+)\n")
QUIET = [
    "--no-sandbox",  # which refuses root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Ui:
    """A running `malaria ui`."""

    def __init__(self, checkout: Checkout) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "malaria", "ui"],
            cwd=checkout.root,
            env=checkout.env,
            stdout=subprocess.PIPE,
            text=True,
            # A shell's background process, such as these tests may be, ignores Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        found = PAGE.fullmatch(self.process.stdout.readline())
        assert found is not None
        self.runs = found.group(1)
        self.below = self.runs.partition("?")[0]  # and a run's id: its page

    def stop(self, signum: int) -> int:
        """Return the exit code after a signal."""
        self.process.send_signal(signum)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def two_rows(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Two experiments, the first one in Git: they have one training and two thresholds."""
    checkout = finished.copy(tmp_path_factory.mktemp("ui"))
    shutil.rmtree(checkout.root / "pilot")
    checkout.commit("results")
    change_params(checkout.demo / "params.yaml", {"evaluate": {"threshold": "fixed_0.5"}})
    checkout.dvc("repro", "evaluate")
    return checkout


@pytest.fixture(scope="module")
def ui(two_rows: Checkout) -> Iterator[Ui]:
    running = Ui(two_rows)
    yield running
    assert running.stop(signal.SIGTERM) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("chromium is not installed")
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which nothing may go wrong, and that asks no other machine."""
    opened = browser.new_page(viewport={"width": 1600, "height": 1000})
    opened.set_default_timeout(LIMIT_MS)
    wrong: list[str] = []

    def read(message: ConsoleMessage) -> None:
        place = message.location.get("url", "")
        is_known = place.endswith(NO_USERS) or message.text.endswith(LAID_OUT_TWICE)
        if message.type == "error" and not is_known:
            wrong.append(f"{message.text} ({place})")

    def ask(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            wrong.append(request.url)

    opened.on("console", read)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", ask)
    yield opened
    opened.close()
    assert wrong == []


# Names, metrics and params from left to right, a row each: in the document they stand as they were
# made. The last line is the text, as a run's colour stands before its name.
CELLS = """() => {
  const rows = {};
  for (const cell of document.querySelectorAll('.ag-row [role=gridcell]')) {
    if (/^(attributes|metrics|params)[.]/.test(cell.getAttribute('col-id'))) {
      const index = cell.closest('.ag-row').getAttribute('row-index');
      const text = cell.innerText.trim().split('\\n').at(-1);
      (rows[index] ??= []).push([cell.getBoundingClientRect().x, text]);
    }
  }
  return Object.keys(rows).sort((a, b) => a - b).map(
    index => rows[index].sort((a, b) => a[0] - b[0]).map(cell => cell[1])
  );
}"""


def table(page: Page, ui: Ui) -> list[list[str]]:
    """Return what the saved view shows of each row: its name, metrics and params."""
    page.goto(ui.runs)
    expect(page.get_by_role("link", name="basic_cnn")).to_have_count(2)
    expect(page.get_by_role("columnheader", name="test.roc_auc").first).to_be_visible()
    return [list(row) for row in page.evaluate(CELLS)]


def train_and_evaluate(checkout: Checkout) -> tuple[str, str]:
    """Return the ids of the training's and of the last evaluation's run."""
    client = MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("malaria-demo").experiment_id
    train, evaluate = (
        client.search_runs([experiment], f"tags.`malaria.stage` = '{stage}'")[0].info.run_id
        for stage in ("train", "evaluate")
    )
    return train, evaluate


def test_an_experiment_is_a_row_with_its_stages_below(
    ui: Ui, two_rows: Checkout, page: Page
) -> None:
    shown = table(page, ui)
    client = MlflowClient(f"sqlite:///{two_rows.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("malaria-demo").experiment_id
    rows = client.search_runs([experiment], "tags.`malaria.stage` = 'experiment'")
    assert [row[0] for row in shown] == [run.info.run_name for run in rows]
    for cells, run in zip(shown, rows, strict=True):
        first = ("test.sensitivity", "test.specificity", "test.roc_auc")
        assert cells[1:4] == [f"{run.data.metrics[name]:.6g}" for name in first]
    page.get_by_role("link", name="basic_cnn").nth(1).click()
    for stage in STAGES:
        expect(page.get_by_role("link", name=re.compile(rf"^{stage}\b"))).to_be_visible()
    expect(page.get_by_text("where demo has no lock.")).to_be_visible()  # the description


def test_two_experiments_are_compared(ui: Ui, page: Page) -> None:
    table(page, ui)
    for box in page.get_by_role("checkbox", name="toggle row selection").all():
        box.check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    params = page.get_by_role("row", name="evaluate.threshold")
    expect(params).to_contain_text("youden")
    expect(params).to_contain_text("fixed_0.5")
    expect(page.get_by_role("link", name="test.roc_auc", exact=True)).to_be_visible()


def test_learning_curves_are_drawn(ui: Ui, two_rows: Checkout, page: Page) -> None:
    train, _ = train_and_evaluate(two_rows)
    page.goto(f"{ui.below}/{train}/model-metrics")
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        expect(page.get_by_text(f"train ({name})", exact=True)).to_be_visible()


def test_the_confusion_matrix_is_shown(ui: Ui, two_rows: Checkout, page: Page) -> None:
    _, evaluate = train_and_evaluate(two_rows)
    page.goto(f"{ui.below}/{evaluate}/artifacts")
    page.get_by_text("figures", exact=True).click()
    page.get_by_text("evaluation.png", exact=True).click()
    shown = page.get_by_role("img", name="evaluation.png")
    expect(shown).to_be_visible()
    with Image.open(two_rows.demo / "reports/figures/evaluation.png") as written:
        size = {"width": written.width, "height": written.height}
    assert shown.evaluate("img => ({width: img.naturalWidth, height: img.naturalHeight})") == size


def test_a_store_that_was_lost_and_rebuilt_shows_the_same_table_beside_it(
    ui: Ui, two_rows: Checkout, page: Page, tmp_path: Path
) -> None:
    before = table(page, ui)
    assert len({tuple(row[1:]) for row in before}) == 2
    rebuilt = two_rows.copy(tmp_path)
    lose_store(rebuilt)
    sync(rebuilt, "--all-commits")
    second = Ui(rebuilt)
    assert second.address != ui.address
    assert sorted(table(page, second)) == sorted(before)
    assert second.stop(signal.SIGINT) == 0
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{second.address}/health", timeout=60)
    assert requests.get(f"{ui.address}/health", timeout=60).ok


def test_a_store_that_cannot_be_opened_is_one_sentence(two_rows: Checkout, tmp_path: Path) -> None:
    store = tmp_path / "other.db"
    store.write_text("no database\n" * 100)
    result = two_rows.run(
        *(sys.executable, "-m", "malaria", "ui"),
        check=False,
        MLFLOW_TRACKING_URI=f"sqlite:///{store}",
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert answer_of(result.stderr) == (
        f"malaria: sqlite:///{store} cannot be shown: "
        "(sqlite3.DatabaseError) file is not a database\n"
    )
