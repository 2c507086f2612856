"""Runs made from Git, dvc.lock and the cache: which, with what in them, and none twice."""

import json
import shutil
from pathlib import Path

import pytest

from malaria.pipeline.history import worktree
from malaria.tracking.sync import sync
from malaria.tracking.sync_result import summary_of
from tests.git_repo import git, keep_as_experiment
from tests.lock_repo import STAGES, LockRepo
from tests.tracking.stored import NEXT, client_of, dump, runs_of, sync_all, table


def test_each_entry_has_its_run_and_the_experiment_its_row(repo: LockRepo) -> None:
    commit = repo.run_and_commit()
    synced = sync_all(repo)
    assert (synced.runs.made, synced.rows.made, synced.skipped, synced.notes) == (4, 1, [], [])
    (row,) = runs_of(repo, "experiment")
    assert row.data.params == {
        "split.seed": "1",
        "side.knob": "1e-05",
        "train.model": "basic_cnn",
        "train.epochs": "2",
    }
    assert row.data.metrics == {"test.accuracy": 1 / 3}
    assert row.info.run_name == f"{row.data.tags['malaria.identity'][:8]}, basic_cnn"
    for stage in STAGES:
        (run,) = runs_of(repo, stage)
        tags = run.data.tags
        assert run.info.status == "FINISHED"
        assert run.info.start_time == run.info.end_time == 1_700_000_120_000
        assert tags["mlflow.source.git.commit"] == commit
        assert tags["mlflow.parentRunId"] == row.info.run_id
        assert tags["malaria.rebuilt"] == "true"
        assert row.data.tags[f"malaria.run.{stage}"] == run.info.run_id


def test_a_run_has_what_its_files_tell(repo: LockRepo) -> None:
    repo.run_and_commit()
    sync_all(repo)
    client = client_of(repo)
    train, evaluate = runs_of(repo, "train")[0], runs_of(repo, "evaluate")[0]
    losses = client.get_metric_history(train.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in losses] == [(1, 0.5), (2, 1 / 3)]
    assert train.data.params["resolved.recipe.range"] == "[0.9, 1.1]"
    assert train.data.metrics["kept_epoch"] == 2
    assert evaluate.data.metrics == {"test.accuracy": 1 / 3}
    assert evaluate.data.tags["malaria.made_by.demo/models/model.keras"] == train.info.run_id
    (split,) = runs_of(repo, "split")
    assert split.data.params["train.n_cells"] == "1"
    shown = Path(client.download_artifacts(evaluate.info.run_id, "tables/groups.json")).read_text()
    assert json.loads(shown) == {
        "columns": ["group", "patient", "value"],
        "data": [["all", "007", 0.5]],
    }
    tables = json.loads(evaluate.data.tags["mlflow.loggedArtifacts"])
    assert tables == [{"path": "tables/groups.json", "type": "table"}]
    names = {item.path for item in client.list_artifacts(evaluate.info.run_id)}
    assert names == {"evaluation.png", "lock.yaml", "metrics.json", "report.html", "tables"}
    (row,) = runs_of(repo, "experiment")
    assert {item.path for item in client.list_artifacts(row.info.run_id)} == {
        "evaluation.png",
        "report.html",
    }
    model = client.download_artifacts(train.info.run_id, "models/model.keras")
    assert Path(model).read_bytes() == (repo.folder / "models/model.keras").read_bytes()
    assert train.inputs.dataset_inputs[0].dataset.name == "demo/data/cells.csv"


def test_rows_show_the_model_of_their_training(repo: LockRepo) -> None:
    repo.run_and_commit()
    repo.run_and_commit(side={"knob": 2})  # the same training
    sync_all(repo, all_commits=True)
    (train,) = runs_of(repo, "train")
    rows = runs_of(repo, "experiment")
    (model,) = client_of(repo).search_logged_models([train.info.experiment_id])
    assert (model.name, model.source_run_id, str(model.status)) == (
        "basic_cnn",
        train.info.run_id,
        "READY",
    )
    for run in [train, *rows]:
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]


def test_a_second_call_changes_nothing(repo: LockRepo) -> None:
    repo.run_and_commit()
    repo.run_and_commit(**NEXT)
    sync_all(repo, all_commits=True)
    before = dump(repo)
    synced = sync_all(repo, all_commits=True)
    assert (synced.runs.complete, synced.runs.made, synced.runs.completed) == (6, 0, 0)
    assert (synced.rows.complete, synced.rows.made, synced.rows.completed) == (2, 0, 0)
    assert dump(repo) == before


def test_what_is_made_does_not_depend_on_the_order_of_calls(
    repo: LockRepo, empty_store: Path
) -> None:
    repo.run_and_commit()
    sync_all(repo)
    repo.run_and_commit(**NEXT)
    sync_all(repo)
    one_by_one = table(repo)
    shutil.copy(empty_store, repo.root / "mlflow.db")
    sync_all(repo, all_commits=True)
    assert table(repo) == one_by_one


def test_an_entry_of_many_commits_is_one_run_of_the_first(repo: LockRepo) -> None:
    first = repo.run_and_commit()
    second = repo.run_and_commit(**NEXT)
    repo.run_and_commit()  # as the first
    synced = sync_all(repo, all_commits=True)
    assert (synced.runs.made, synced.rows.made) == (6, 2)
    commits = {
        run.data.params["train.epochs"]: run.data.tags["mlflow.source.git.commit"]
        for run in runs_of(repo, "train")
    }
    assert commits == {"2": first, "3": second}


def test_the_work_tree_alone_is_asked_by_default_and_knows_its_first_commit(repo: LockRepo) -> None:
    first = repo.run_and_commit()
    repo.set_params(**NEXT)
    repo.run()
    (repo.root / "stages/side.py").write_text("# changed after the run\n")
    sync_all(repo)
    (train,) = runs_of(repo, "train")
    assert train.data.params["train.epochs"] == "3"
    written = (repo.folder / "dvc.lock").stat().st_mtime * 1000
    assert train.info.start_time == pytest.approx(written, abs=1)
    (split,) = runs_of(repo, "split")
    assert split.data.tags["mlflow.source.git.commit"] == first


def test_experiments_that_share_a_stage_both_have_its_metrics(repo: LockRepo) -> None:
    repo.run_and_commit()
    repo.run_and_commit(side={"knob": 2})
    synced = sync_all(repo, all_commits=True)
    assert (synced.runs.made, synced.rows.made) == (5, 2)
    rows = runs_of(repo, "experiment")
    assert [row.data.metrics for row in rows] == [{"test.accuracy": 1 / 3}] * 2
    (evaluate,) = runs_of(repo, "evaluate")
    assert {row.data.tags["malaria.run.evaluate"] for row in rows} == {evaluate.info.run_id}


def test_the_row_tells_what_is_new_in_it(repo: LockRepo) -> None:
    before = repo.run_and_commit()
    repo.write_code("train", "# other\n")
    repo.run_and_commit(**NEXT)
    sync_all(repo, all_commits=True)
    first, second = (run.data.tags["mlflow.note.content"] for run in runs_of(repo, "experiment"))
    assert first.startswith("The same params and code as")
    assert second == (
        f"Changed since `demo/dvc.lock` of `{before[:8]}`:\n\n- `train.epochs`: `2` → `3`\n"
        "- code: `stages/train.py`"
    )


def test_results_come_from_the_revision_whose_lock_names_them(repo: LockRepo) -> None:
    repo.run_and_commit()
    metrics = repo.folder / "reports/metrics.json"
    metrics.write_text(metrics.read_text().replace("0.3", "0.9"))  # no lock tells of this
    synced = sync_all(repo)
    assert [(left.path, left.reason) for left in synced.skipped] == [
        ("demo/reports/metrics.json", "not in Git with the lock's MD5")
    ]
    repo.commit("tampered")
    sync_all(repo, all_commits=True)  # the commit before has them
    assert runs_of(repo, "evaluate")[0].data.metrics == {"test.accuracy": 1 / 3}


def test_dvc_experiments_have_rows_with_their_names(repo: LockRepo) -> None:
    repo.run_and_commit()
    repo.set_params(**NEXT)
    repo.run()
    keep_as_experiment(repo.root, "longer")
    assert sync_all(repo).rows.made == 1
    synced = sync_all(repo, experiments=True)
    assert (synced.runs.made, synced.rows.made) == (2, 1)
    (row,) = [run for run in runs_of(repo, "experiment") if "dvc.experiment" in run.data.tags]
    assert row.info.run_name == "longer, basic_cnn"
    assert row.data.metrics == {"test.accuracy": 0.25}


def test_a_lock_that_holds_two_experiments_gives_each_its_own(repo: LockRepo) -> None:
    repo.run_and_commit()
    repo.set_params(**NEXT)
    repo.run("train")  # and not evaluate, which is still of the model before
    repo.commit("only trained")
    sync_all(repo, all_commits=True)
    old, new = runs_of(repo, "experiment")
    assert (old.info.status, new.info.status) == ("FINISHED", "SCHEDULED")
    assert old.data.metrics == {"test.accuracy": 1 / 3}
    assert new.data.params["train.epochs"] == "3"
    assert new.data.metrics == {}
    assert "malaria.run.evaluate" not in new.data.tags


def test_a_pipeline_that_ran_only_up_to_a_stage_has_the_rows_of_what_ran(repo: LockRepo) -> None:
    repo.run("split", "side")
    repo.commit("up to side")
    synced = sync_all(repo)
    assert (synced.runs.made, synced.rows.made, synced.skipped, synced.notes) == (2, 1, [], [])
    (row,) = runs_of(repo, "experiment")
    assert (row.info.status, row.data.metrics) == ("SCHEDULED", {})
    assert row.data.params["train.epochs"] == "2"  # of the whole experiment, as it will run
    before = dump(repo)
    sync_all(repo)
    assert dump(repo) == before
    repo.run()
    repo.commit("the rest")
    synced = sync_all(repo)
    assert (synced.runs.made, synced.rows.made, synced.rows.completed) == (2, 0, 1)
    (row,) = runs_of(repo, "experiment")
    assert (row.info.status, row.data.metrics) == ("FINISHED", {"test.accuracy": 1 / 3})


def test_what_an_experiment_left_that_no_lock_records_whole_has_no_run(repo: LockRepo) -> None:
    repo.run()
    repo.set_params(**NEXT)
    repo.run("train")
    repo.commit("the first lock")
    synced = sync_all(repo)
    assert (synced.runs.made, synced.rows.made) == (3, 1)
    assert runs_of(repo, "evaluate") == []
    assert runs_of(repo, "experiment")[0].data.metrics == {}
    before = dump(repo)
    sync_all(repo)
    assert dump(repo) == before


def test_a_shallow_clone_is_synced_with_a_word_on_its_times(
    repo: LockRepo, tmp_path: Path, empty_store: Path
) -> None:
    repo.run_and_commit()
    repo.run_and_commit(**NEXT)
    git(tmp_path, "clone", "-q", "--depth=1", repo.root.as_uri(), "shallow")
    shallow = tmp_path / "shallow"
    shutil.copy(empty_store, shallow / "mlflow.db")
    synced = sync(shallow, [worktree(shallow)])
    assert [note.split(":")[0] for note in synced.notes] == ["the clone is shallow"]
    assert synced.runs.made == 4


def test_nothing_to_sync_is_told(repo: LockRepo) -> None:
    assert (
        summary_of(sync_all(repo), repo.root) == "no folder has a dvc.lock there; nothing has run"
    )


def test_a_pipeline_at_the_root_is_like_any_other(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    repo = LockRepo(tmp_path / "repo", ".")
    shutil.copy(empty_store, repo.root / "mlflow.db")
    repo.run_and_commit()
    synced = sync_all(repo)
    assert (synced.runs.made, synced.rows.made, synced.skipped) == (4, 1, [])
    assert "out.models/model.keras" in runs_of(repo, "train")[0].data.tags
