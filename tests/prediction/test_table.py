"""Tables of predictions: what is written, and that reading gives the same numbers."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from malaria.evaluation.metrics import compute_metrics
from malaria.prediction.table import (
    PREDICTION_COLUMNS,
    read_predictions,
    with_probabilities,
    write_predictions,
    write_table,
)
from tests.evaluation.examples import draw, predictions_of, tiny


def test_predictions_are_written_with_six_digits_and_only_their_columns(tmp_path: Path) -> None:
    predictions = tiny().assign(logit=-1.23456789, probability=2 / 3, width=80)
    write_predictions(predictions, tmp_path / "predictions.csv")
    lines = (tmp_path / "predictions.csv").read_bytes().split(b"\n")
    assert lines[0].decode() == ",".join(PREDICTION_COLUMNS)
    assert lines[1] == b"cell_0,C0,val,1,-1.234568,0.666667"
    assert len(lines) == 12
    assert b"\r" not in b"".join(lines)


def test_read_probabilities_are_exactly_the_rounded_numbers(tmp_path: Path) -> None:
    label, _ = draw(0, 20_000)
    probability = np.random.default_rng(1).random(20_000) ** 3
    write_predictions(predictions_of(label, probability), tmp_path / "predictions.csv")
    read = read_predictions(tmp_path / "predictions.csv")
    assert read["probability"].tolist() == [round(float(value), 6) for value in probability]
    assert read["cell_id"].dtype == "string"


def test_metrics_follow_from_the_written_file(tmp_path: Path) -> None:
    write_predictions(predictions_of(*draw(0)), tmp_path / "first.csv")
    first = read_predictions(tmp_path / "first.csv")
    write_predictions(first, tmp_path / "second.csv")
    second = read_predictions(tmp_path / "second.csv")
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()
    assert compute_metrics(first, 0.4) == compute_metrics(second, 0.4)


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    write_table(tiny().drop(columns="logit"), tmp_path / "predictions.csv")
    with pytest.raises(ValueError, match="there is no column `logit`"):
        read_predictions(tmp_path / "predictions.csv")


def test_probabilities_are_the_sigmoid_of_the_logits_at_any_size() -> None:
    cells = pd.DataFrame({"cell_id": list("abcd"), "logit": [0.0, 2.0, -800.0, 800.0]})
    cells = with_probabilities(cells)
    assert cells["probability"].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2)), 0, 1])
    assert list(cells) == ["cell_id", "logit", "probability"]


def test_tables_have_six_digits(tmp_path: Path) -> None:
    table = pd.DataFrame({"cell_id": ["a", "b"], "fall": [1 / 3, np.nan], "windows": [4, 5]})
    write_table(table, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "cell_id,fall,windows\na,0.333333,4\nb,,5\n"
