"""The report of the pilot's committed results, without its pictures."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from malaria.pipeline.facts import Origin
from malaria.report.report import gather, write_report
from tests.conftest import REPO

PARAMS = {
    "split.unit": "patient",
    "evaluate.threshold": "youden",
    "evaluate.external": [],
    "train.epochs": 6,
    "train.optimizer": "recipe",
    "split.folds": "none",
}
FILE, CODE = "pilot/data/cells.csv", "malaria/core"
CELLS = pd.DataFrame(
    {"patient": ["C1", "C2", "C3"], "label": [1, 0, 1], "split": ["train", "val", "test"]}
)
FOLDED = re.compile("<details>.*?</details>", re.DOTALL)


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def picture(path: Path) -> str:
        assert path.is_file()
        return path.name

    monkeypatch.setattr("malaria.report.page.picture", picture)
    shutil.copytree(REPO / "pilot/reports", tmp_path / "reports")
    return tmp_path / "reports"


def written(reports: Path) -> tuple[str, str]:
    """Return page and card."""
    origin = Origin(PARAMS, {CODE: "b" * 32}, {FILE: "a" * 32})
    page, card = reports / "page.html", reports / "card.md"
    write_report(gather(reports, CELLS, "real cells", origin), page, card)
    return page.read_text(), card.read_text()


def test_params_that_are_not_set_and_hashes_are_folded(reports: Path) -> None:
    page, _ = written(reports)
    folded, shown = "".join(FOLDED.findall(page)), FOLDED.sub("", page)
    for key in ("train.optimizer", "split.folds", "evaluate.external", FILE, CODE):
        assert f"<code>{key}</code>" in folded
        assert f"<code>{key}</code>" not in shown
    for key in ("train.epochs", "split.unit", "optimizer", "learning_rate", "batch_size"):
        assert f"<code>{key}</code>" in shown


def test_page_and_card_call_metrics_by_the_same_names(reports: Path) -> None:
    for text in written(reports):
        for name in ("F1", "MCC", "ROC AUC", "average precision", "Brier score", "ECE"):
            assert name in text
        assert not re.search(r"\b(f1|mcc|roc_auc|pr_auc|brier|log_loss|ece)\b", text)


def test_the_augmentation_has_a_figure_only_where_there_is_one(reports: Path) -> None:
    figure = reports / "explore/augmentation.png"
    figure.touch()
    assert figure.name in written(reports)[0]
    figure.unlink()
    assert figure.name not in written(reports)[0]


@pytest.mark.parametrize(("scaled", "warnings"), [(0.5, (2, 1)), (0.001, (0, 0))])
def test_scaling_that_makes_the_test_worse_is_a_warning(
    reports: Path, scaled: float, warnings: tuple[int, int]
) -> None:
    table = pd.read_csv(reports / "tables/calibration.csv")
    table.loc[table["probability"] == "scaled", "estimate"] = scaled
    table.to_csv(reports / "tables/calibration.csv", index=False)
    # On the page before any number and beside the table, on the card before any number.
    page, card = written(reports)
    assert (
        tuple(text.count("makes the test calibration worse") for text in (page, card)) == warnings
    )
