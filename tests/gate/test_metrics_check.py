"""Whether metrics.json follows from the predictions next to it."""

from pathlib import Path

import pytest

from malaria.evaluation.external import external_metrics
from malaria.evaluation.metrics import compute_metrics, write_headline, write_metrics
from malaria.gate.metrics_check import metrics_faults
from malaria.paths import EXTERNAL, HEADLINE, METRICS, PREDICTIONS
from malaria.prediction.external import read_external
from malaria.prediction.table import read_predictions

# Youden's rule takes .6 on val.
ROWS = """\
cell_id,patient,split,label,logit,probability
a,C1,val,1,0.405465,0.6
b,C2,val,0,-0.405465,0.4
c,C3,test,1,1.386294,0.8
d,C3,test,1,0.0,0.5
e,C4,test,0,0.847298,0.7
f,C4,test,0,-2.197225,0.1
"""
EXTERNAL_ROWS = """\
set,cell_id,patient,label,logit,probability
lab_b,x,,1,1.386294,0.800000
lab_b,y,,1,-2.197225,0.100000
"""


UNREADABLE = "m.json cannot be recomputed from reports/predictions.csv"


def write_reports(folder: Path) -> None:
    """Leave predictions and metrics as the stages would; the test split's ROC AUC is .75."""
    (folder / "reports").mkdir(parents=True, exist_ok=True)
    (folder / PREDICTIONS).write_text(ROWS)
    (folder / EXTERNAL).write_text(EXTERNAL_ROWS)
    predictions, external = read_predictions(folder / PREDICTIONS), read_external(folder / EXTERNAL)
    metrics = {
        split: compute_metrics(predictions[predictions["split"] == split], 0.6)
        for split in ("val", "test")
    }
    write_metrics(metrics, external_metrics(external, 0.6), folder / METRICS)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        ('"accuracy": 0.5', '"accuracy": 0.500001', []),
        (
            '"threshold": 0.6',
            '"threshold": 0.4',
            [
                "val.threshold in m.json is 0.4, but youden chooses 0.6 on the val cells of "
                "reports/predictions.csv",
                "val.accuracy in m.json is 1.0, but reports/predictions.csv gives 0.5 at the "
                "file's threshold",
            ],
        ),
        (
            '"specificity": null',
            '"specificity": 1.0',
            [
                "external.lab_b.specificity in m.json is 1.0, but reports/external.csv gives nan "
                "at the file's threshold"
            ],
        ),
        (
            '"n_cells": 4',
            '"cells": 4',
            [
                "test.cells in m.json is 4, but reports/predictions.csv gives no such number at "
                "the file's threshold",
                "test.n_cells in m.json is missing, but reports/predictions.csv gives 4 at the "
                "file's threshold",
            ],
        ),
        ('"threshold": 0.6', '"point": 0.6', [f"{UNREADABLE} (KeyError('threshold'))"]),
        ("{", "", [f"{UNREADABLE} (JSONDecodeError("]),
        ("{", "[" * 100_000, [f"{UNREADABLE} (RecursionError("]),
    ],
)
def test_numbers_that_the_predictions_do_not_give_are_named(
    tmp_path: Path, old: str, new: str, faults: list[str]
) -> None:
    write_reports(tmp_path)
    assert not list(metrics_faults(tmp_path, "m.json", "youden"))
    edit(tmp_path / METRICS, old, new)
    found = list(metrics_faults(tmp_path, "m.json", "youden"))[: len(faults) or None]
    assert len(found) == len(faults)
    assert all(said.startswith(fault) for said, fault in zip(found, faults, strict=True))


def test_missing_files_have_no_faults_but_a_missing_rule_is_one(tmp_path: Path) -> None:
    write_reports(tmp_path)
    (fault,) = metrics_faults(tmp_path, "m.json", None)
    assert fault.startswith("m.json cannot be checked: its lock does not say")
    (tmp_path / PREDICTIONS).unlink()
    for rule in ("youden", None):
        assert not list(metrics_faults(tmp_path, "m.json", rule))


def test_the_headline_is_that_of_the_predictions(tmp_path: Path) -> None:
    write_reports(tmp_path)
    predictions = read_predictions(tmp_path / PREDICTIONS)
    write_headline(
        {
            split: compute_metrics(predictions[predictions["split"] == split], 0.6)
            for split in ("val", "test")
        },
        tmp_path / HEADLINE,
    )
    assert not list(metrics_faults(tmp_path, "m.json", "youden"))
    edit(tmp_path / HEADLINE, '"roc_auc": 0.75', '"roc_auc": 0.95')
    edit(tmp_path / HEADLINE, '"mcc"', '"f1"')
    assert list(metrics_faults(tmp_path, "m.json", "youden")) == [
        f"test.{name} in {HEADLINE} is not what {PREDICTIONS} gives"
        for name in ("f1", "mcc", "roc_auc")
    ]
