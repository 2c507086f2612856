"""Which cells are shown, with what they were called."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from malaria.core.params import parse
from malaria.errors import MalariaError
from malaria.explanation.cells import called_cells, choose, sample_calls
from malaria.explanation.params import ExplainParams
from malaria.prediction.table import with_probabilities

# Test cells with the threshold .5: name, patient, label, logit; h is as unsure as g.
ROWS = [
    ("h", "C2", 0, 0.1),
    ("a", "C1", 1, 9.0),
    ("b", "C1", 1, 4.0),
    ("c", "C2", 1, -3.0),
    ("d", "C2", 0, -8.0),
    ("e", "C3", 0, -2.0),
    ("f", "C3", 0, 5.0),
    ("g", "C3", 1, -0.1),
]


def predicted(rows: list[tuple[str, str, int, float]], split: str = "test") -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["cell_id", "patient", "label", "logit"])
    return with_probabilities(table.assign(split=split))


def called(rows: list[tuple[str, str, int, float]], threshold: float) -> pd.DataFrame:
    return called_cells(predicted(rows), predicted(rows), threshold)


@pytest.fixture
def cells() -> pd.DataFrame:
    predictions = pd.concat([predicted([("v", "C9", 1, -99.0)], "val"), predicted(ROWS)])
    table = predictions[["cell_id"]].sort_values("cell_id", ascending=False, ignore_index=True)
    return called_cells(predictions, table, 0.5)


def test_cells_are_those_of_the_test_split_with_rows_and_calls(cells: pd.DataFrame) -> None:
    assert cells["cell_id"].tolist() == list("abcdefgh")
    assert cells["row"].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]  # v is the first of the images
    assert cells["called"].tolist() == [1, 1, 0, 0, 0, 1, 0, 1]
    assert cells["distance"].tolist() == pytest.approx([9, 4, 3, 8, 2, 5, 0.1, 0.1])
    assert cells["loss"].tolist()[5] == pytest.approx(-np.log(1 - expit(5.0)))


def test_distances_are_from_the_thresholds_logit() -> None:
    cells = called([("a", "C1", 1, 2.0), ("b", "C1", 1, -2.0)], float(expit(-1.5)))
    assert cells["distance"].tolist() == pytest.approx([3.5, 0.5])
    assert cells["called"].tolist() == [1, 0]


@pytest.mark.parametrize("threshold", [0.0, 1.000001])
def test_a_threshold_that_calls_all_or_none_has_distances(threshold: float) -> None:
    cells = called(ROWS, threshold)
    assert cells["called"].nunique() == 1
    assert np.isfinite(cells["distance"]).all()


@pytest.mark.parametrize(
    ("kind", "count", "names"),
    [
        ("confident_right", 2, "ad"),
        ("confident_right", 3, "abd"),
        ("confident_right", 8, "abde"),
        ("confident_wrong", 2, "fc"),
        ("confident_wrong", 8, "fcgh"),
        ("least_sure", 2, "gh"),
        ("least_sure", 3, "ghe"),
        ("top_losses", 3, "fcg"),
    ],
)
def test_kinds(cells: pd.DataFrame, kind: str, count: int, names: str) -> None:
    for order in (cells, cells[::-1]):
        assert choose(order, kind, count)["cell_id"].tolist() == list(names)


def test_a_sample_is_half_of_each_call_and_of_many_patients() -> None:
    rng = np.random.default_rng(1)
    cells = called([(f"n{i}", f"C{i % 6}", i % 3 % 2, float(rng.normal())) for i in range(90)], 0.5)
    sample = sample_calls(cells, 9)
    assert sample["called"].tolist() == [1] * 5 + [0] * 4
    assert sample.groupby("called")["patient"].nunique().tolist() == [4, 5]
    again = sample_calls(cells.sample(frac=1, random_state=2), 9)
    assert again["cell_id"].tolist() == sample["cell_id"].tolist()
    assert len(sample_calls(cells, 1000)) == 90


@pytest.mark.parametrize(("key", "value"), [("cells", 1), ("cells", 25), ("occluded", 1)])
def test_params_out_of_range_are_named(key: str, value: int) -> None:
    with pytest.raises(MalariaError, match=rf"explain\.{key} is {value}"):
        parse(ExplainParams, {"cells": 12, "occluded": 40, key: value})
