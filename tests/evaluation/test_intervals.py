"""Intervals: their formula, what clusters do to them, and when there is none."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

from malaria.evaluation.intervals import (
    Interval,
    effective_units,
    interval_table,
    metric_intervals,
    missing,
    t_interval,
)
from malaria.evaluation.measures import METRICS
from malaria.prediction.table import with_probabilities
from tests.evaluation.test_bootstrap import THRESHOLD, predictions


def clustered(patients: int, cells: int, spread: float, seed: int = 0) -> pd.DataFrame:
    """Return equally many cells per patient; `spread` is the sd of the patients' mean logits."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), cells)
    label = rng.integers(0, 2, len(patient))
    own = rng.normal(scale=spread, size=patients)[patient]
    logit = rng.normal(size=len(patient)) + own + 3 * (label - 0.5)
    table = pd.DataFrame({"patient": patient.astype(str), "label": label, "logit": logit})
    return with_probabilities(table)


def test_the_t_interval_is_that_of_the_logit() -> None:
    # By hand: logit(.8) = 1.3863; slope 1 / (.8 * .2) = 6.25; t(.975, 9) = 2.2622
    interval = t_interval("sensitivity", 0.8, 0.04, units=10)
    reach = 2.2622 * 0.04 * 6.25
    expected = [expit(1.38629 - reach), expit(1.38629 + reach)]
    assert [interval.low, interval.high] == pytest.approx(expected, abs=1e-4)


def test_metrics_with_other_bounds_have_other_scales() -> None:
    reach = stats.t.ppf(0.975, 9) * 0.05
    mcc = t_interval("mcc", 0.6, 0.05, units=10)
    assert mcc.low == pytest.approx(np.tanh(np.arctanh(0.6) - reach / (1 - 0.36)))
    loss = t_interval("log_loss", 1.4, 0.05, units=10)
    assert loss.high == pytest.approx(1.4 * np.exp(reach / 1.4))


@pytest.mark.parametrize(
    ("estimate", "undefined", "patients", "reason"),
    [
        (np.nan, 0, 10, "not defined"),
        (0.9, 0.36, 10, "not defined in 36 % of resamples"),
        (0.9, 0, 1.5, "too few patients (1.5)"),
        (0.9, 0, 1.99, "too few patients (1.9)"),
        (0.9, 0.05, 2, ""),
    ],
)
def test_what_cannot_have_an_interval_says_why(
    estimate: float, undefined: float, patients: float, reason: str
) -> None:
    assert missing(estimate, undefined, patients) == reason


@pytest.mark.parametrize(("estimate", "error"), [(1.0, 0.0), (0.9, 0.0), (0.9, 1e-16)])
def test_what_does_not_vary_has_no_bounds(estimate: float, error: float) -> None:
    interval = t_interval("sensitivity", estimate, error, 10)
    assert interval == Interval(estimate, None, None, "does not vary between patients")
    assert np.isnan(interval.width)


def test_the_effective_number_of_patients() -> None:
    assert effective_units(np.array([5, 5, 5, 5])) == 4
    assert effective_units(np.array([100, 1, 1])) == pytest.approx(102**2 / 10002)
    assert effective_units(np.array([0, 0])) == 0


def test_without_clusters_intervals_by_patient_and_by_cell_agree() -> None:
    table = interval_table(clustered(60, 50, spread=0), THRESHOLD, 1000, seed=1)
    assert table["width_ratio"].between(0.75, 1.3).all()
    assert (table["patients"] > 50).all()


def test_similar_cells_of_a_patient_make_the_interval_wider() -> None:
    table = interval_table(clustered(30, 60, spread=1), THRESHOLD, 1000, seed=1)
    wide = table.set_index("metric")["width_ratio"]
    assert (wide[["accuracy", "sensitivity", "specificity", "roc_auc"]] > 1.5).all()


def test_the_spread_of_the_patients_is_that_of_the_sandwich() -> None:
    # Of a ratio of sums: se^2 = sum (x - r n)^2 / (sum n)^2, as for any cluster sample.
    cells = clustered(80, 40, spread=1)
    hit = cells["probability"][cells["label"] == 1] >= THRESHOLD
    sums = hit.groupby(cells["patient"]).agg(["sum", "size"])
    rate = sums["sum"].sum() / sums["size"].sum()
    error = np.sqrt(((sums["sum"] - rate * sums["size"]) ** 2).sum()) / sums["size"].sum()
    expected = t_interval("sensitivity", rate, error, effective_units(sums["size"].to_numpy()))
    interval = metric_intervals(cells, THRESHOLD, 4000, seed=1)["sensitivity"]
    assert interval.estimate == pytest.approx(rate)
    assert interval.low == pytest.approx(expected.low, abs=0.004)
    assert interval.high == pytest.approx(expected.high, abs=0.004)


def test_the_table_has_every_metric_and_is_repeatable() -> None:
    first, again = (interval_table(predictions(), THRESHOLD, 200, seed=2) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first["metric"].tolist() == list(METRICS)
    assert first["estimate"].between(first["low"], first["high"], inclusive="neither").all()
    assert (first["reason"] == "").all()


def test_with_one_class_there_are_reasons() -> None:
    table = interval_table(predictions().assign(label=0), THRESHOLD, 200, seed=2)
    rows = table.set_index("metric")
    undefined = rows.loc[["sensitivity", "roc_auc", "pr_auc"]]
    assert undefined["low"].isna().all()
    assert set(undefined["reason"]) == {"not defined"}
    assert rows.loc["specificity", "low"] < rows.loc["specificity", "high"]


def test_a_class_that_most_resamples_lack_gives_the_reason() -> None:
    cells = clustered(12, 20, spread=1).assign(label=0)
    cells.loc[cells["patient"] == "0", "label"] = 1
    interval = metric_intervals(cells, THRESHOLD, 500, seed=1)["sensitivity"]
    assert interval.low is None
    assert interval.reason.startswith("not defined in 3")  # of 36 %: (11 / 12) ^ 12


def test_two_patients_with_the_same_rate_give_no_interval() -> None:
    # 7 of 23 cells wrong in each: sums in another order differ in their last bits, so the spread of
    # the resamples is not quite 0.
    label = np.ones(46, dtype=int)
    logit = np.tile(np.where(np.arange(23) < 7, -1.0, 1.0), 2)
    table = {"patient": np.repeat(["a", "b"], 23), "label": label, "logit": logit}
    found = metric_intervals(with_probabilities(pd.DataFrame(table)), 0.5, 500, seed=1)
    for metric in ("sensitivity", "accuracy", "log_loss"):
        assert found[metric].low is None, metric
        assert found[metric].reason == "does not vary between patients", metric
