"""The numbers of a comparison: those of the gate, and cells and patients counted by hand."""

import numpy as np
import pytest

from malaria.compare.measure import by_patient, changed_calls, measure, on_common_cells
from malaria.evaluation.measures import METRICS
from malaria.gate.paired import paired_differences
from malaria.gate.params import CAN_BE_GATED
from malaria.gate.predictions import Evaluated
from tests.gate.test_judge import cells, evaluated, moved


def test_differences_are_those_of_the_gate() -> None:
    models = [evaluated(cells()), evaluated(cells(loss=1.5))]
    rows = {row.metric: row for row in measure(models, 500, 3)}
    assert list(rows) == list(METRICS)
    thresholds = (models[0].threshold, models[1].threshold)
    theirs = paired_differences(models[0].cells, models[1].cells, thresholds, 500, 3)
    for name in CAN_BE_GATED:
        found = rows[name].difference
        assert found is not None
        assert found.estimate == pytest.approx(theirs[name].difference, abs=1e-12)
        assert (found.low, found.high) == pytest.approx(theirs[name].interval(0.95), abs=1e-9)


def test_better_and_worse_follow_the_metrics_direction() -> None:
    good, bad = evaluated(cells()), evaluated(cells(loss=2.5))
    for models, is_better in (((good, bad), False), ((bad, good), True)):
        rows = {row.metric: row for row in measure(models, 300, 1)}
        for name in ("sensitivity", "roc_auc", "log_loss", "brier"):
            assert rows[name].is_better is is_better, name
        assert rows["specificity"].is_better is None  # nothing changed there
    assert all(row.is_better is None for row in measure((good, good), 300, 1))


def test_models_on_other_cells_are_measured_but_not_paired() -> None:
    first, second = evaluated(cells()), evaluated(moved())
    assert all(row.difference is None for row in measure((first, second), 200, 1))


def test_only_cells_that_all_tested_with_one_label_and_patient_are_common() -> None:
    relabelled = cells()
    relabelled.loc[relabelled["patient"] == "C2", "label"] ^= 1
    models, overlap = on_common_cells([evaluated(cells()), evaluated(moved())])
    assert (overlap.tested, overlap.common, overlap.relabelled) == ((800, 800), 760, 0)
    assert models[0].fingerprint == models[1].fingerprint
    assert len(models[0].cells) == 760
    assert not models[0].cells["patient"].isin(["C1", "C23"]).any()
    models, overlap = on_common_cells([evaluated(cells()), evaluated(relabelled)])
    assert (overlap.common, overlap.relabelled, len(models[0].cells)) == (800, 40, 760)
    none = evaluated(cells()).only(np.zeros(800, dtype=bool))
    assert len(on_common_cells([evaluated(cells()), none])[0][0].cells) == 0


def four_cells() -> list[Evaluated]:
    """Return two models of four cells: lost, won, both right, both wrong."""
    frame = cells().head(4).assign(split="test", patient=["a", "a", "b", "b"], label=[1, 0, 1, 0])
    first, second = [0.9, 0.7, 0.9, 0.8], [0.2, 0.4, 0.8, 0.9]
    return [Evaluated(frame.assign(probability=one), 0.5) for one in (first, second)]


def test_calls_that_changed_are_counted_by_cell_and_patient() -> None:
    models = four_cells()
    changed = changed_calls(models)
    ids = models[0].cells["cell_id"].tolist()
    assert changed["cell_id"].tolist() == ids[:2]  # right to wrong first
    assert changed["change"].tolist() == pytest.approx([0.7, 0.3])
    table = by_patient(models)
    assert table[["patient", "cells", "parasitized"]].to_numpy().tolist() == [
        ["a", 2, 1],
        ["b", 2, 1],
    ]
    assert table[[0, 1]].to_numpy().tolist() == [[1, 1], [1, 1]]


def test_of_many_models_the_cells_that_the_fewest_have_right_come_first() -> None:
    one, two = four_cells()
    changed = changed_calls([one, two, two])
    assert changed["right"].tolist() == [1, 2]
