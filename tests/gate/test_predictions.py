"""Predictions of one revision: what is read, and every fault as one sentence."""

import numpy as np
import pandas as pd
import pytest

from malaria.errors import MalariaError
from malaria.gate.predictions import Files, read_evaluated
from tests.conftest import REPO
from tests.gate.test_judge import cells, evaluated, files


def with_value(column: str, value: object) -> pd.DataFrame:
    frame = cells().astype({column: object})
    frame.loc[3, column] = value
    return frame


def as_text(label: int, written: str) -> bytes:
    """Return the file with another way to write a label."""
    frame = cells().astype({"label": object})
    return frame.assign(label=frame["label"].replace(label, written)).to_csv(index=False).encode()


def with_quotes(*lines: int) -> bytes:
    """Return the file with a quote before the name of some lines; in one line, it stays open."""
    rows = cells().to_csv(index=False).splitlines(keepends=True)
    for number, line in enumerate(sorted(set(lines))):
        rows[line] = f'"{rows[line]}' if number == 0 else rows[line].replace(",", '",', 1)
    return "".join(rows).encode()


def fault_of(found: Files, file: str) -> str:
    """Return what the error says between the file and the remedy."""
    with pytest.raises(MalariaError) as caught:
        read_evaluated(found, "the base")
    start = f"the base's reports/{file} "
    end = "; run `uv run dvc repro` in its folder and commit the reports."
    message = str(caught.value)
    assert message.startswith(start)
    assert message.endswith(end)
    assert "\n" not in message
    return message.removeprefix(start).removesuffix(end)


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
        (b"", "is not readable (No columns to parse from file)"),
        (b"\xff\xfe,\n", "is not readable ("),
        (b"version https://git-lfs.github.com/spec/v1\n", "(there is no column `cell_id`)"),
        (cells().drop(columns="patient"), "is not readable (there is no column `patient`)"),
        (cells().to_csv(index=False).encode() + b"a,b,c,0,1,2,3\n", "is not readable ("),
        (with_value("patient", None), "has no value for `patient` in line 5"),
        (with_value("probability", np.nan), "has no value for `probability` in line 5"),
        (with_value("logit", "high"), "has 'high' for `logit`, which is not a number"),
        (with_value("logit", np.inf), "has the logit inf for cell00003, which is not finite"),
        (with_value("label", 0.5), "has the label 0.5 for cell00003, which is neither 0 nor 1"),
        (cells().astype({"label": float}), "label 0.0 for cell00000, which is not written as 0 or"),
        (as_text(1, "1e0"), "has the label 0.0 for cell00000, which is not written as 0 or 1"),
        (cells().astype({"label": bool}), "label False for cell00000, which is not written as 0"),
        (cells()[:0], "has a header, but no rows"),
        (cells().to_csv(index=False).encode()[:-20] + b"\0\n", "has a NUL byte, so it is no text"),
        (with_quotes(3, 3), "is not readable ("),
        (with_quotes(3, 7), "has 960 lines below the header, but 956 rows"),
        (with_value("cell_id", "a\nb"), "has 961 lines below the header, but 960 rows"),
        (with_value("split", "x" * 10**6), "the split " + "x" * 60 + "… for cell00003, which"),
        (
            with_value("split", "a\x1b[31m"),
            "the split a\ufffd[31m for cell00003, which is",
        ),
        (with_value("label", 2), "has the label 2 for cell00003, which is neither 0 nor 1"),
        (with_value("split", "tset"), "the split tset for cell00003, which is not train, val or"),
        (with_value("probability", 1.5), "probability 1.5 for cell00003, which is outside [0, 1]"),
        (with_value("probability", 0.3), "for cell00003, which does not follow from the logit"),
        (with_value("cell_id", "cell00009"), "has 1 cells more than once (cell00009)"),
        (cells().assign(split="val"), "has no cell of the split test"),
        (b"x" * 10_000_001, "has 10.0 MB, more than the 10 MB that the gate reads"),
    ],
)
def test_broken_predictions_are_one_sentence(content: bytes | pd.DataFrame, fault: str) -> None:
    if isinstance(content, pd.DataFrame):
        content = content.to_csv(index=False).encode()
    assert fault in fault_of(Files(content, files(cells()).metrics), "predictions.csv")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is not JSON with the key test.threshold"),
        (b"[1]", "is not JSON with the key test.threshold"),
        (b'{"test": {}}', "is not JSON with the key test.threshold"),
        (b'{"test": {"threshold": "0.5"}}', "has the threshold '0.5', which is not a number"),
        (b'{"test": {"threshold": NaN}}', "has the threshold nan, which is not a number"),
        (b"[" * 100_000, "is not JSON with the key test.threshold"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "is not JSON with the key test.threshold"),
        (b'{"test": {"threshold": ' + b"9" * 5000 + b"}}", "has the threshold inf, which is not"),
        (b'{"test": {"threshold": 0.5, "n_cells": ' + b"9" * 5000 + b"}}", "n_cells inf, but"),
        (b'{"test": {"threshold": "' + b"9" * 10**6 + b'"}}', "9" * 59 + "…, which is not a num"),
        (b'{"test": {"threshold": true}}', "has the threshold True, which is not a number"),
        (b" " * 10_000_001, "has 10.0 MB, more than the 10 MB that the gate reads"),
        (files(cells(), sensitivity=0.999).metrics, "says test.sensitivity 0.999, but the predic"),
        (files(cells(), roc_auc="0.999").metrics, "says test.roc_auc '0.999', but the predictions"),
        (files(cells(), specificity=None).metrics, "says test.specificity nan, but the predictio"),
        (files(cells(), n_cells=9).metrics, "says test.n_cells 9, but the predictions next to it"),
    ],
)
def test_broken_metrics_are_one_sentence(content: bytes, fault: str) -> None:
    assert fault in fault_of(Files(files(cells()).predictions, content), "metrics.json")


def test_the_order_and_the_scores_do_not_change_which_cells_they_are() -> None:
    frame = cells()
    first = evaluated(frame).fingerprint
    assert evaluated(cells(noise=1)).fingerprint == first
    assert evaluated(frame.sample(frac=1, random_state=1)).fingerprint == first
    assert evaluated(frame.assign(label=1 - frame["label"])).fingerprint != first
    assert evaluated(frame.assign(patient=frame["patient"] + "b")).fingerprint != first
    assert evaluated(frame.drop(index=0)).fingerprint != first


def test_the_committed_reports_are_readable() -> None:
    reports = REPO / "pilot/reports"
    found = Files(*((reports / name).read_bytes() for name in ("predictions.csv", "metrics.json")))
    assert read_evaluated(found, "pilot").cells["patient"].nunique() > 10
