"""Predictions of one revision: what is read, and every fault as one sentence."""

import numpy as np
import pandas as pd
import pytest

from malaria.errors import MalariaError
from malaria.evaluated import Files, read_evaluated
from tests.conftest import REPO
from tests.test_gate import cells, evaluated, files


def with_value(column: str, value: object, row: int = 3) -> pd.DataFrame:
    frame = cells().astype({column: object})
    frame.loc[row, column] = value
    return frame


def test_the_test_cells_are_read_in_the_order_of_their_names() -> None:
    frame = cells()
    found = read_evaluated(files(frame.sample(frac=1, random_state=1), 0.4), "the head")
    assert found.threshold == 0.4
    pd.testing.assert_frame_equal(
        found.cells, frame[frame["split"] == "test"], check_dtype=False, check_column_type=False
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is not readable as CSV (No columns to parse from file)"),
        (b"\xff\xfe,\x00", "is not readable as CSV"),
        (b"version https://git-lfs.github.com/spec/v1\n", "has no column `cell_id`"),
        (cells().drop(columns="patient").to_csv(index=False).encode(), "no column `patient`"),
        (cells().to_csv(index=False).encode() + b"a,b,c,0,1,2,3\n", "is not readable as CSV"),
        (with_value("patient", None).to_csv(index=False).encode(), "no value for `patient` in l"),
        (with_value("probability", np.nan).to_csv(index=False).encode(), "`probability` in line 5"),
        (with_value("logit", "high").to_csv(index=False).encode(), "has 'high' for `logit`"),
        (with_value("logit", np.inf).to_csv(index=False).encode(), "logit inf for cell00003"),
        (with_value("label", 2).to_csv(index=False).encode(), "label 2 for cell00003, which is n"),
        (with_value("split", "tset").to_csv(index=False).encode(), "the split tset for cell00003"),
        (with_value("probability", 1.5).to_csv(index=False).encode(), "1.5 for cell00003, which"),
        (with_value("probability", 0.3).to_csv(index=False).encode(), "follow from the logit"),
        (with_value("cell_id", "cell00009").to_csv(index=False).encode(), "1 cells more than once"),
        (cells().assign(split="val").to_csv(index=False).encode(), "no cell of the split test"),
        (b"x" * 10_000_001, "has 10.0 MB, more than the 10 MB"),
    ],
)
def test_broken_predictions_are_one_sentence(content: bytes, fault: str) -> None:
    with pytest.raises(MalariaError) as caught:
        read_evaluated(Files(content, files(cells()).metrics), "the base")
    message = str(caught.value)
    assert message.startswith("the base's reports/predictions.csv")
    assert fault in message
    assert message.endswith("; run `uv run dvc repro` and commit its reports.")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "no JSON with the key test.threshold"),
        (b"[1]", "no JSON with the key test.threshold"),
        (b'{"test": {}}', "no JSON with the key test.threshold"),
        (b'{"test": {"threshold": "0.5"}}', "the threshold '0.5', which is no number"),
        (b'{"test": {"threshold": NaN}}', "the threshold nan, which is no number"),
        (b'{"test": {"threshold": true}}', "the threshold True, which is no number"),
        (b" " * 10_000_001, "more than the 10 MB"),
        (files(cells(), sensitivity=0.999).metrics, "says test.sensitivity 0.999, but the"),
        (files(cells(), n_cells=9).metrics, "says test.n_cells 9, but the"),
    ],
)
def test_broken_metrics_are_one_sentence(content: bytes, fault: str) -> None:
    with pytest.raises(MalariaError) as caught:
        read_evaluated(Files(files(cells()).predictions, content), "the head")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_order_and_the_scores_do_not_change_which_cells_they_are() -> None:
    frame = cells()
    first = evaluated(frame).fingerprint
    assert evaluated(cells(noise=1)).fingerprint == first
    assert evaluated(frame.assign(label=frame["label"].astype(float))).fingerprint == first
    assert evaluated(frame.sample(frac=1, random_state=1)).fingerprint == first
    assert evaluated(frame.assign(label=1 - frame["label"])).fingerprint != first
    assert evaluated(frame.assign(patient=frame["patient"] + "b")).fingerprint != first
    assert evaluated(frame.drop(index=0)).fingerprint != first


def test_the_committed_reports_are_readable() -> None:
    reports = REPO / "pilot/reports"
    found = read_evaluated(
        Files((reports / "predictions.csv").read_bytes(), (reports / "metrics.json").read_bytes()),
        "pilot",
    )
    assert found.cells["patient"].nunique() > 10
