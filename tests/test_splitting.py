"""Splits: whole patients, the fractions asked for, every stratum in every split."""

import numpy as np
import pandas as pd
import pytest

from malaria.errors import MalariaError
from malaria.params.split import SPLITS, Fractions, SplitParams
from malaria.splitting import assign_splits, patient_strata

SEEDS = range(8)


def split_params(
    unit: str = "patient",
    fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
    seed: int = 2018,
    folds: int | None = None,
    fold: int | None = None,
) -> SplitParams:
    shares = Fractions(**dict(zip(SPLITS, fractions, strict=True)))
    return SplitParams.model_validate(
        {
            "unit": unit,
            "fractions": shares,
            "seed": seed,
            "folds": folds,
            "fold": fold,
            "corrections": None,
        }
    )


def draw_cells(seed: int, infected: int = 60, healthy: int = 20) -> pd.DataFrame:
    """Return cells of patients whose burden is as uneven as in the real data."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(infected + healthy):
        burden = int(rng.pareto(1) * 5) % 200 + 1 if number < infected else 0
        labels = [1] * burden + [0] * int(rng.integers(20, 80))
        rows += [
            {"cell_id": f"C{number}_cell_{cell}", "patient": f"C{number}", "label": label}
            for cell, label in enumerate(labels)
        ]
    cells = pd.DataFrame(rows)
    return cells.sample(frac=1, random_state=seed).reset_index(drop=True)


def splits_of_patients(cells: pd.DataFrame, params: SplitParams) -> pd.Series:
    """Return the split of each patient."""
    return assign_splits(cells, params).groupby(cells["patient"]).first()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_patient_is_in_two_splits(seed: int) -> None:
    cells = draw_cells(seed)
    splits = assign_splits(cells, split_params(seed=seed))
    assert set(splits) == set(SPLITS)
    assert (splits.groupby(cells["patient"]).nunique() == 1).all()


def test_the_splits_belong_to_the_rows_of_the_table() -> None:
    cells = draw_cells(1)
    cells.index = cells.index + 1000
    splits = assign_splits(cells, split_params())
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
    patients = splits_of_patients(cells, params)
    strata = patient_strata(cells)
    for stratum in range(4):
        members = patients[strata[strata == stratum].index]
        assert len(members) == 20
        for split in SPLITS:
            expected = getattr(params.fractions, split) * len(members)
            assert abs((members == split).sum() - expected) < 2
            assert (members == split).any()


def test_strata_are_healthy_and_thirds_of_the_parasitized_cells() -> None:
    burdens = {"C1": 0, "C2": 1, "C3": 500, "C4": 2, "C5": 40, "C6": 30, "C7": 300, "C8": 0}
    rows = [
        {"patient": patient, "label": label}
        for patient, burden in burdens.items()
        for label in [0, 0, 0] + [1] * burden
    ]
    strata = patient_strata(pd.DataFrame(rows))
    assert strata.to_dict() == {
        "C1": 0, "C8": 0, "C2": 1, "C4": 1, "C6": 2, "C5": 2, "C7": 3, "C3": 3,
    }  # fmt: skip


@pytest.mark.parametrize("unit", ["patient", "cell"])
def test_the_order_of_the_rows_changes_nothing(unit: str) -> None:
    cells = draw_cells(3)
    params = split_params(unit)
    splits = assign_splits(cells, params)
    for seed in range(3):
        shuffled = cells.sample(frac=1, random_state=seed)
        assert assign_splits(shuffled, params).sort_index().equals(splits)


def test_the_global_random_state_changes_nothing() -> None:
    cells = draw_cells(3)
    splits = assign_splits(cells, split_params())
    np.random.seed(99)
    assert assign_splits(cells, split_params()).equals(splits)


@pytest.mark.parametrize("unit", ["patient", "cell"])
def test_another_seed_gives_another_split(unit: str) -> None:
    cells = draw_cells(4)
    drawn = [tuple(assign_splits(cells, split_params(unit, seed=seed))) for seed in range(5)]
    assert len(set(drawn)) == 5


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_as_units_mix_patients_and_keep_the_share_of_each_class(seed: int) -> None:
    cells = draw_cells(seed)
    params = split_params("cell", seed=seed)
    splits = assign_splits(cells, params)
    large = cells.groupby("patient").filter(lambda rows: len(rows) >= 40)
    mixed = splits[large.index].groupby(large["patient"]).nunique()
    assert (mixed == 3).mean() > 0.95
    for label in (0, 1):
        within = splits[cells["label"] == label]
        for split in SPLITS:
            expected = getattr(params.fractions, split) * len(within)
            assert abs((within == split).sum() - expected) <= 2


def ten_patients() -> pd.DataFrame:
    """Return cells of patients C0 to C5 with a burden of 1 to 6 and of healthy C6 to C9."""
    rows = [
        {"cell_id": f"C{number}_cell_{cell}", "patient": f"C{number}", "label": int(cell > 0)}
        for number in range(10)
        for cell in range(number + 2 if number < 6 else 1)
    ]
    return pd.DataFrame(rows)


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
    lacks = [f"split `{split}` would have no {lacking} cell" in message for split in SPLITS]
    assert sum(lacks) == 1
    for remedy in ("split.seed", "split.fractions", "patients"):
        assert remedy in message


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
    strata = patient_strata(cells)
    for fold in range(1, 6):
        splits = splits_of_patients(cells, split_params(folds=5, fold=fold))
        counts = pd.crosstab(strata, splits)
        assert (counts["test"] == 4).all()  # 20 patients a stratum
        assert splits.value_counts().to_dict() == {"train": 51, "val": 13, "test": 16}  # 4 to 1


def test_folds_of_another_seed_are_others() -> None:
    cells = draw_cells(3)
    first, second = (
        assign_splits(cells, split_params(folds=4, fold=1, seed=seed)) == "test" for seed in (1, 2)
    )
    assert not first.equals(second)
