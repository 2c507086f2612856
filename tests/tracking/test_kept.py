"""Rows of kept experiments and series, of which only params and small results are in Git."""

from pathlib import Path

import pytest

from malaria.studies.results import TABLES
from malaria.tracking.kept import kept_runs
from tests.conftest import REPO
from tests.git_repo import keep_as_experiment
from tests.lock_repo import LockRepo
from tests.tracking.stored import NEXT, client_of, dump, runs_of, sync_all

SERIES = (
    "experiment,n_cells,accuracy,ece\ncv-fold1,20,0.5,\ncv-fold2,22,0.75,\nmean,,0.6,\nsd,,0.1,\n"
)


@pytest.fixture
def keeper(repo: LockRepo) -> LockRepo:
    """A repository that keeps an experiment of which it has no lock, and a series."""
    repo.run_and_commit(**NEXT)
    folder = repo.folder / "experiments/longer"
    folder.mkdir(parents=True)
    for name in ("params.yaml", "reports/metrics.json", "reports/train.json"):
        (folder / Path(name).name).write_bytes((repo.folder / name).read_bytes())
    (folder / "history.csv").write_bytes((repo.folder / "reports/history.csv").read_bytes())
    (repo.folder / "series").mkdir()
    (repo.folder / "series/cv.csv").write_text(SERIES)
    repo.run_and_commit()
    return repo


def test_what_is_kept_has_rows_and_a_second_call_changes_nothing(keeper: LockRepo) -> None:
    synced = sync_all(keeper)
    assert (synced.runs.made, synced.rows.made) == (4, 4)
    rows = {run.info.run_name: run for run in runs_of(keeper, "experiment")}
    longer = rows["longer, basic_cnn"]
    assert longer.info.status == "FINISHED"
    assert longer.data.metrics["test.accuracy"] == 0.25
    assert "kept_epoch" not in longer.data.metrics  # which is of the training, as elsewhere
    assert longer.data.params["train.epochs"] == "3"
    assert longer.data.tags["malaria.kept"] == "demo/experiments/longer"
    assert longer.info.start_time == 1_700_000_180_000  # of the commit that brought it
    losses = client_of(keeper).get_metric_history(longer.info.run_id, "loss")
    assert [metric.step for metric in losses] == [1, 2, 3]
    fold = rows["cv-fold2"]
    assert (fold.data.metrics, fold.data.params) == (
        {"test.accuracy": 0.75},
        {"test.n_cells": "22"},
    )
    assert not rows.keys() & {"mean", "sd"}
    before = dump(keeper)
    assert sync_all(keeper).rows.complete == 4
    assert dump(keeper) == before


def test_an_experiment_with_a_row_of_its_own_gets_no_second_one(keeper: LockRepo) -> None:
    keeper.set_params(**NEXT)
    keeper.run()
    keep_as_experiment(keeper.root, "longer")
    sync_all(keeper, experiments=True)
    tags = [run.data.tags for run in runs_of(keeper, "experiment")]
    (longer,) = [one for one in tags if one.get("dvc.experiment") == "longer"]
    assert "malaria.kept" not in longer


def test_the_pilots_kept_runs_are_those_of_its_tables() -> None:
    kept = {run.name: run for run in kept_runs(REPO, "pilot")}
    tables = "".join(table(REPO) for table in TABLES.values())
    assert {"cv-fold1", "leaky", "cnn_se"} <= kept.keys()
    for run in kept.values():
        assert run.name in tables or run.params["split.unit"] == "cell"
        assert not run.content.strange
        assert "test.n_cells" in run.content.counts
