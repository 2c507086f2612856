"""Runs in MLflow as `malaria compare` reads them, and the page that it leaves at a row."""

import math

import pytest

from malaria import paths
from malaria.compare.side import read_side
from malaria.compare.sources import find_sources
from malaria.core.yaml_files import find_mapping
from malaria.tracking.compared import find_run, log_page
from tests.lock_repo import LockRepo

from .stored import NEXT, client_of, runs_of, sync_all

FOLDER = "demo"


@pytest.fixture
def rows(repo: LockRepo) -> dict[str, str]:
    """The rows of two experiments, by their epochs."""
    repo.run_and_commit()
    repo.run_and_commit(**NEXT)
    sync_all(repo, all_commits=True)
    found = runs_of(repo, "experiment")
    return {run.data.params["train.epochs"]: run.info.run_id for run in found}


def test_a_row_has_the_files_params_and_lock_of_its_stages(
    repo: LockRepo, rows: dict[str, str]
) -> None:
    found = find_run(repo.root, rows["3"])
    assert found is not None
    assert found.params["train.epochs"] == "3"
    for path in (paths.METRICS, paths.HISTORY):
        assert found.files[path] == (repo.folder / path).read_bytes()
    lock = find_mapping(found.files[paths.LOCK])
    assert lock is not None
    assert lock == find_mapping((repo.folder / paths.LOCK).read_bytes())
    (train,) = [run for run in runs_of(repo, "train") if run.data.params["train.epochs"] == "3"]
    assert find_run(repo.root, train.info.run_id) == found  # a stage's run means its row
    assert find_run(repo.root, "0" * 32) is None


def test_runs_are_compared_as_revisions_are(repo: LockRepo, rows: dict[str, str]) -> None:
    sources = find_sources(repo.root, FOLDER, [rows["2"], rows["3"], "HEAD"])
    assert [one.kind for one in sources] == ["MLflow run", "MLflow run", "Git revision"]
    before, after = map(read_side, sources[:2])
    assert (before.params["train.epochs"], after.params["train.epochs"]) == ("2", "3")
    assert after.code == before.code
    assert after.history is not None
    assert len(after.history) == 3
    assert after.metrics["accuracy"] == pytest.approx(0.25)
    assert math.isnan(after.metrics["roc_auc"])


@pytest.mark.parametrize("by", ["run", "commit", "work tree"])
def test_the_page_is_left_at_the_row(repo: LockRepo, rows: dict[str, str], by: str) -> None:
    page = repo.root / "a..b.html"
    page.write_text("<p>page</p>")
    known = {"run_id": "", "experiment": "", "commit": ""}
    known |= {"run": {"run_id": rows["3"]}, "commit": {"commit": "HEAD"}}.get(by, {})
    name = log_page(repo.root, FOLDER, page, **known)
    client = client_of(repo)
    assert name == client.get_run(rows["3"]).info.run_name
    assert [item.path for item in client.list_artifacts(rows["3"], "compare")] == [
        "compare/a..b.html"
    ]
    assert not client.list_artifacts(rows["2"], "compare")


def test_without_a_row_nothing_is_left_and_a_broken_store_is_told(
    repo: LockRepo, capsys: pytest.CaptureFixture[str]
) -> None:
    page = repo.root / "a..b.html"
    page.write_text("<p>page</p>")
    known = {"run_id": "", "experiment": "tried", "commit": ""}
    assert log_page(repo.root, FOLDER, page, **known) is None
    assert capsys.readouterr().err == ""
    (repo.root / "mlflow.db").write_bytes(b"no store")
    assert log_page(repo.root, FOLDER, page, **known) is None
    assert capsys.readouterr().err.startswith("compare: the page is not logged to MLflow (")
