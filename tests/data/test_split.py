"""Splits: whole patients, the fractions asked for, every stratum in every split."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from malaria.core.params import NONE
from malaria.core.table import SPLITS
from malaria.data.params import SplitParams
from malaria.data.split import assign_splits, patient_strata
from malaria.errors import MalariaError

SEEDS = range(8)


def split_params(
    unit: str = "patient",
    fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
    seed: int = 2018,
    **others: int,
) -> SplitParams:
    given = {"unit": unit, "fractions": dict(zip(SPLITS, fractions, strict=True)), "seed": seed}
    words = dict.fromkeys(("folds", "fold", "corrections"), NONE)
    return SplitParams.model_validate(words | given | others)


def cells_of(patients: Iterable[tuple[int, int]]) -> pd.DataFrame:
    """Return the cells of patients C0, C1 and on, of whom each has parasitized and uninfected."""
    rows = [
        {"cell_id": f"C{number}_cell_{cell}", "patient": f"C{number}", "label": label}
        for number, (parasitized, uninfected) in enumerate(patients)
        for cell, label in enumerate([1] * parasitized + [0] * uninfected)
    ]
    return pd.DataFrame(rows)


def draw_cells(seed: int) -> pd.DataFrame:
    """Return cells of 60 infected and 20 healthy patients, of as uneven a burden as the real."""
    rng = np.random.default_rng(seed)
    cells = cells_of(
        (int(rng.pareto(1) * 5) % 200 + 1 if number < 60 else 0, int(rng.integers(20, 80)))
        for number in range(80)
    )
    return cells.sample(frac=1, random_state=seed).reset_index(drop=True)


def ten_patients() -> pd.DataFrame:
    """Return cells of patients C0 to C5 with a burden of 1 to 6 and of healthy C6 to C9."""
    return cells_of((number + 1 if number < 6 else 0, 1) for number in range(10))


def splits_of_patients(cells: pd.DataFrame, params: SplitParams) -> pd.Series:
    """Return the split of each patient."""
    return assign_splits(cells, params).groupby(cells["patient"]).first()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_patient_is_in_two_splits_and_the_splits_belong_to_the_rows(seed: int) -> None:
    cells = draw_cells(seed)
    cells.index = cells.index + 1000
    splits = assign_splits(cells, split_params(seed=seed))
    assert set(splits) == set(SPLITS)
    assert (splits.groupby(cells["patient"]).nunique() == 1).all()
    assert splits.name == "split"
    assert splits.index.equals(cells.index)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fractions", [(0.6, 0.15, 0.25), (0.34, 0.33, 0.33), (0.8, 0.1, 0.1)])
def test_fractions_are_those_of_the_patients_within_one(
    seed: int, fractions: tuple[float, float, float]
) -> None:
    patients = splits_of_patients(draw_cells(seed), split_params(fractions=fractions, seed=seed))
    for split, share in zip(SPLITS, fractions, strict=True):
        assert abs((patients == split).sum() - share * len(patients)) <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_fractions_hold_about_within_healthy_and_within_each_third_of_burden(seed: int) -> None:
    cells = draw_cells(seed)
    params = split_params(seed=seed)
    counts = pd.crosstab(patient_strata(cells), splits_of_patients(cells, params))
    assert counts.sum(axis=1).tolist() == [20, 20, 20, 20]
    for split in SPLITS:
        assert (abs(counts[split] - 20 * getattr(params.fractions, split)) < 2).all()
        assert (counts[split] > 0).all()


def test_strata_are_healthy_and_thirds_of_the_parasitized_cells() -> None:
    cells = cells_of((burden, 3) for burden in (0, 1, 500, 2, 40, 30, 300, 0))
    assert patient_strata(cells).tolist() == [0, 1, 3, 1, 2, 2, 3, 0]


@pytest.mark.parametrize("unit", ["patient", "cell"])
def test_the_order_of_the_rows_changes_nothing(unit: str) -> None:
    cells = draw_cells(3)
    params = split_params(unit)
    splits = assign_splits(cells, params)
    for seed in range(3):
        np.random.seed(seed)  # nor does the global random state
        shuffled = cells.sample(frac=1, random_state=seed)
        assert assign_splits(shuffled, params).sort_index().equals(splits)


@pytest.mark.parametrize("unit", ["patient", "cell"])
@pytest.mark.parametrize("folds", [{}, {"folds": 4, "fold": 1}])
def test_another_seed_gives_another_split(unit: str, folds: dict[str, Any]) -> None:
    cells = draw_cells(4)
    drawn = [assign_splits(cells, split_params(unit, seed=seed, **folds)) for seed in range(5)]
    assert len({tuple(splits == "test") for splits in drawn}) == 5


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_as_units_mix_patients_and_keep_the_share_of_each_class(seed: int) -> None:
    cells = draw_cells(seed)
    params = split_params("cell", seed=seed)
    splits = assign_splits(cells, params)
    large = cells.groupby("patient").filter(lambda rows: len(rows) >= 40)
    mixed = splits[large.index].groupby(large["patient"]).nunique()
    assert (mixed == 3).mean() > 0.95
    counts = pd.crosstab(cells["label"], splits)
    for split in SPLITS:
        expected = getattr(params.fractions, split) * counts.sum(axis=1)
        assert (abs(counts[split] - expected) <= 2).all()


def test_the_split_of_a_table_is_the_same_on_every_machine() -> None:
    patients = splits_of_patients(ten_patients(), split_params(seed=1))
    assert patients.to_dict() == {
        "C0": "train", "C1": "train", "C2": "test", "C3": "train", "C4": "val",
        "C5": "train", "C6": "test", "C7": "train", "C8": "val", "C9": "train",
    }  # fmt: skip


@pytest.mark.parametrize(("kept", "lacking"), [(0, "uninfected"), (1, "parasitized")])
def test_a_split_without_a_class_is_refused(kept: int, lacking: str) -> None:
    cells = ten_patients()
    cells = cells[(cells["label"] != kept) | (cells["patient"] == "C0")]
    with pytest.raises(MalariaError) as caught:
        assign_splits(cells, split_params())
    message = str(caught.value)
    assert "\n" not in message
    lacks = [f"split `{split}` would have no {lacking} cell; " in message for split in SPLITS]
    assert sum(lacks) == 1
    assert "; change split.seed or split.fractions, or bring more patients" in message


@pytest.mark.parametrize("unit", ["patient", "cell"])
def test_each_unit_is_tested_in_one_fold(unit: str) -> None:
    cells = draw_cells(3)
    runs = [assign_splits(cells, split_params(unit=unit, folds=5, fold=n)) for n in range(1, 6)]
    tested = pd.DataFrame([splits == "test" for splits in runs])
    assert (tested.sum() == 1).all()
    for splits in runs:
        assert set(splits) == set(SPLITS)
        if unit == "patient":
            assert (splits.groupby(cells["patient"]).nunique() == 1).all()


def test_folds_have_as_many_patients_of_each_stratum_and_the_rest_keeps_the_proportion() -> None:
    cells = draw_cells(3)
    for fold in range(1, 6):
        splits = splits_of_patients(cells, split_params(folds=5, fold=fold))
        counts = pd.crosstab(patient_strata(cells), splits)
        assert (counts["test"] == 4).all()  # 20 patients per stratum
        assert counts.sum().to_dict() == {"train": 51, "val": 13, "test": 16}  # 4 to 1
