"""Runs made from Git, dvc.lock and the cache: which, with what in them, and none twice."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from malaria import rebuild
from malaria.errors import MalariaError
from malaria.index import all_runs
from malaria.states import select, worktree
from malaria.store import open_store
from malaria.sync import Synced, summary_of, sync
from tests.lock_repo import STAGES, LockRepo
from tests.test_experiments import git, keep_as_experiment

NEXT = {"train": {"epochs": 3}}


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sqlite store without runs, which takes seconds to make."""
    root = tmp_path_factory.mktemp("store")
    MlflowClient(f"sqlite:///{root / 'mlflow.db'}").search_experiments()
    return root / "mlflow.db"


@pytest.fixture
def repo(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> LockRepo:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "repo"
    made = LockRepo(root)
    shutil.copy(empty_store, root / "mlflow.db")
    return made


def sync_all(repo: LockRepo, all_commits: bool = False, experiments: bool = False) -> Synced:
    revisions = select(repo.root, None, all_commits, experiments)
    return sync(repo.root, [*revisions, worktree(repo.root)])


def client_of(repo: LockRepo) -> MlflowClient:
    return MlflowClient(f"sqlite:///{repo.root / 'mlflow.db'}")


def all_of(repo: LockRepo) -> list[Run]:
    client = client_of(repo)
    return list(all_runs(client, [e.experiment_id for e in client.search_experiments()]))


def runs_of(repo: LockRepo, stage: str) -> list[Run]:
    return [run for run in all_of(repo) if run.data.tags["malaria.stage"] == stage]


def table(repo: LockRepo) -> dict[tuple[str, str], Any]:
    """Return all that is to be the same however often and whenever it is made, by the run."""
    client = client_of(repo)
    names = {run.info.run_id: run.info.run_name for run in all_of(repo)}
    found = {}
    for run in all_of(repo):
        tags = {key: names.get(value, value) for key, value in run.data.tags.items()}
        artifacts = [item.path for item in client.list_artifacts(run.info.run_id)]
        history = [
            (metric.key, metric.step, metric.value)
            for key in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, key)
        ]
        info = run.info.status, run.info.start_time, run.info.end_time
        key = (run.info.run_name, run.data.tags["malaria.identity"])
        assert key not in found
        found[key] = (info, tags, run.data.params, history, sorted(artifacts))
    return found


def dump(repo: LockRepo) -> dict[str, list[Any]]:
    """Return every row of every table of the store."""
    with sqlite3.connect(repo.root / "mlflow.db") as store:
        names = [
            row[0] for row in store.execute("select name from sqlite_master where type='table'")
        ]
        return {name: sorted(map(repr, store.execute(f"select * from {name}"))) for name in names}


def test_each_entry_has_its_run_and_the_experiment_its_row(repo: LockRepo) -> None:
    commit = repo.run_and_commit()
    synced = sync_all(repo)
    assert (synced.runs.made, synced.rows.made, synced.left_out, synced.notes) == (4, 1, [], [])
    (row,) = runs_of(repo, "experiment")
    assert row.data.params == {
        "split.seed": "1",
        "side.knob": "1e-05",
        "train.model": "basic_cnn",
        "train.epochs": "2",
    }
    assert row.data.metrics == {"test.accuracy": 1 / 3}
    assert row.info.run_name == f"basic_cnn, {row.data.tags['malaria.identity'][:8]}"
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
    assert split.data.metrics["train.n_cells"] == 1
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
    (model,) = client.search_logged_models([train.info.experiment_id])
    assert model.source_run_id == train.info.run_id
    assert train.inputs.dataset_inputs[0].dataset.name == "demo/data/cells.csv"


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
    (repo.root / "code/side.py").write_text("# changed after the run\n")
    sync_all(repo)
    (train,) = runs_of(repo, "train")
    assert train.data.params["train.epochs"] == "3"
    assert train.data.tags["malaria.dirty"] == "true"
    written = (repo.folder / "dvc.lock").stat().st_mtime * 1000
    assert train.info.start_time == pytest.approx(written, abs=1)
    (split,) = runs_of(repo, "split")
    assert split.data.tags["mlflow.source.git.commit"] == first
    assert split.data.tags["malaria.dirty"] == "false"


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
        "- code: `code/train.py`"
    )


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_what_the_cache_lacks_is_named_and_added_later(
    repo: LockRepo, empty_store: Path, fault: str
) -> None:
    repo.run_and_commit()
    sync_all(repo)
    whole = table(repo)
    shutil.copy(empty_store, repo.root / "mlflow.db")
    kept = {
        path: path.read_bytes()
        for path in (repo.cached("data/cells.csv"), repo.cached("reports/report.html"))
    }
    for path in kept:
        path.unlink() if fault == "missing" else path.write_bytes(b"half")
    synced = sync_all(repo)
    assert {(left.path, left.reason) for left in synced.left_out} == {
        ("demo/data/cells.csv", "not in DVC's cache"),
        ("demo/reports/report.html", "not in DVC's cache"),
    }
    assert "left out: demo/data/cells.csv, not in DVC's cache" in summary_of(synced)
    assert synced.runs.made == 4
    assert "train.n_cells" not in runs_of(repo, "split")[0].data.metrics
    assert runs_of(repo, "experiment")[0].data.metrics == {"test.accuracy": 1 / 3}
    before = dump(repo)
    assert len(sync_all(repo).left_out) == 2
    assert dump(repo) == before
    for path, content in kept.items():
        path.write_bytes(content)
    synced = sync_all(repo)
    assert (synced.runs.completed, synced.rows.completed, synced.left_out) == (2, 1, [])
    assert table(repo) == whole


def test_results_come_from_the_revision_whose_lock_names_them(repo: LockRepo) -> None:
    repo.run_and_commit()
    metrics = repo.folder / "reports/metrics.json"
    metrics.write_text(metrics.read_text().replace("0.3", "0.9"))  # no lock tells of this
    synced = sync_all(repo)
    assert [(left.path, left.reason) for left in synced.left_out] == [
        ("demo/reports/metrics.json", "not in Git with the lock's MD5")
    ]
    repo.commit("tampered")
    sync_all(repo, all_commits=True)  # the commit before has them
    assert runs_of(repo, "evaluate")[0].data.metrics == {"test.accuracy": 1 / 3}


EACH_CALL = [
    pytest.param(call, marks=[] if call in (3, 8) else [pytest.mark.slow]) for call in range(1, 12)
]


@pytest.mark.parametrize("call", EACH_CALL)
def test_a_call_that_was_stopped_is_gone_on_with(
    repo: LockRepo, empty_store: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    repo.run_and_commit()
    with monkeypatch.context() as patch:
        stop_at(call, patch)
        with pytest.raises(KeyboardInterrupt):
            sync_all(repo)
    sync_all(repo)
    stopped = table(repo)
    shutil.copy(empty_store, repo.root / "mlflow.db")
    sync_all(repo)
    assert stopped == table(repo)


def stop_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the n-th of the calls that write to the store."""
    calls = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        return wrapped

    for name in ("log", "log_files", "log_inputs", "log_model", "_end"):
        monkeypatch.setattr(rebuild, name, counted(getattr(rebuild, name)))


def test_runs_that_failed_do_not_count_and_stay(repo: LockRepo) -> None:
    repo.run_and_commit()
    client, experiment_id = open_store(repo.root, "small")
    failed = client.create_run(experiment_id, tags={"malaria.stage": "train"})
    client.set_terminated(failed.info.run_id, "FAILED")
    assert sync_all(repo).runs.made == 4
    assert [run.info.status for run in runs_of(repo, "train")] == ["FINISHED", "FAILED"]


@pytest.mark.parametrize(("loss", "is_same"), [(0.5, True), (0.4, False)])
def test_a_live_run_that_was_cut_off_is_completed(
    repo: LockRepo, loss: float, is_same: bool
) -> None:
    repo.run_and_commit()
    sync_all(repo)
    (done,) = runs_of(repo, "train")
    client = client_of(repo)
    # What live logging has written when the server went away after the first epoch.
    tags = {
        key: value
        for key, value in done.data.tags.items()
        if not key.startswith(("out.", "malaria.entry", "malaria.rebuilt"))
    }
    live = client.create_run(done.info.experiment_id, 5_000, tags, "train").info.run_id
    for param, text in {"train.model": "basic_cnn", "train.epochs": "2"}.items():
        client.log_param(live, param, text)
    for key, value in {"epoch": 1, "loss": loss, "val_loss": loss / 3}.items():
        client.log_metric(live, key, value, timestamp=6_000, step=1)
    client.delete_run(done.info.run_id)
    synced = sync_all(repo)
    assert (synced.runs.made, synced.runs.complete) == (1, 2)  # evaluate now knows another maker
    ended = {run.info.run_id: run for run in runs_of(repo, "train")}
    assert (ended[live].info.status == "FINISHED") == is_same
    assert len(ended) == (1 if is_same else 2)
    if is_same:
        history = client.get_metric_history(live, "loss")
        assert [(metric.timestamp, metric.step) for metric in history] == [
            (6_000, 1),
            (1_700_000_120_000, 2),
        ]
        assert ended[live].info.start_time == 5_000


def test_a_run_that_was_left_half_made_does_not_hide_the_whole_one(repo: LockRepo) -> None:
    repo.run_and_commit()
    sync_all(repo)
    (done,) = runs_of(repo, "train")
    left = {key: done.data.tags[key] for key in ("malaria.stage", "malaria.entry")}
    client_of(repo).create_run(done.info.experiment_id, done.info.start_time - 1, left)
    before = dump(repo)
    synced = sync_all(repo)
    assert (synced.runs.made, synced.runs.completed) == (0, 0)
    assert dump(repo) == before


def test_what_somebody_deleted_comes_back(repo: LockRepo) -> None:
    repo.run_and_commit()
    sync_all(repo)
    before = table(repo)
    client = client_of(repo)
    for stage in ("experiment", "train"):
        client.delete_run(runs_of(repo, stage)[0].info.run_id)
    sync_all(repo)
    assert table(repo) == before
    after = dump(repo)
    sync_all(repo)
    assert dump(repo) == after


def test_dvc_experiments_have_rows_with_their_names(repo: LockRepo) -> None:
    repo.run_and_commit()
    repo.set_params(**NEXT)
    repo.run()
    keep_as_experiment(repo.root, "longer")
    assert sync_all(repo).rows.made == 1
    synced = sync_all(repo, experiments=True)
    assert (synced.runs.made, synced.rows.made) == (2, 1)
    (row,) = [run for run in runs_of(repo, "experiment") if "dvc.experiment" in run.data.tags]
    assert row.info.run_name == "basic_cnn, longer"
    assert row.data.metrics == {"test.accuracy": 0.25}


def test_a_lock_that_holds_two_experiments_gives_each_its_own(repo: LockRepo) -> None:
    repo.run_and_commit()
    repo.set_params(**NEXT)
    repo.run("train")  # and not evaluate, which is still of the model before
    repo.commit("only trained")
    sync_all(repo, all_commits=True)
    old, new = runs_of(repo, "experiment")
    assert old.data.metrics == {"test.accuracy": 1 / 3}
    assert new.data.params["train.epochs"] == "3"
    assert new.data.metrics == {}
    assert "malaria.run.evaluate" not in new.data.tags


def test_two_experiments_in_the_first_lock_of_all(repo: LockRepo) -> None:
    repo.run()
    repo.set_params(**NEXT)
    repo.run("train")
    repo.commit("the first lock")
    synced = sync_all(repo)
    assert (synced.runs.made, synced.rows.made) == (4, 2)
    left = runs_of(repo, "evaluate")[0]
    rows = {run.info.run_id: run for run in runs_of(repo, "experiment")}
    assert rows[left.data.tags["mlflow.parentRunId"]].data.metrics == {"test.accuracy": 1 / 3}
    before = dump(repo)
    sync_all(repo)
    assert dump(repo) == before


def test_a_file_of_another_schema_is_named(repo: LockRepo) -> None:
    repo.set_params()
    repo.run()
    (repo.folder / "reports/train.json").write_text("[1, 2]")
    lock = (repo.folder / "dvc.lock").read_text()
    old = lock.split("path: reports/train.json")[1].split("md5: ")[1][:32]
    new = repo.cached("reports/train.json").parent.name + repo.cached("reports/train.json").name
    (repo.folder / "dvc.lock").write_text(lock.replace(old, new))
    repo.commit("odd")
    synced = sync_all(repo)
    (left,) = synced.left_out
    assert (left.path, left.stage) == ("demo/reports/train.json", "train")
    assert left.reason.startswith("of another schema (AttributeError")
    assert runs_of(repo, "train")[0].data.metrics["epoch"] == 2


def test_a_broken_lock_of_the_work_tree_is_refused_and_one_of_a_commit_noted(
    repo: LockRepo,
) -> None:
    repo.run_and_commit()
    lock = repo.folder / "dvc.lock"
    whole = lock.read_text()
    lock.write_text(f"<<<<<<< HEAD\n{whole}")
    broken = repo.commit("a conflict")
    with pytest.raises(MalariaError, match=r"^demo/dvc\.lock of the work tree is not readable as"):
        sync_all(repo)
    lock.write_text(whole)
    repo.commit("mended")
    synced = sync_all(repo, all_commits=True)
    assert synced.notes == [
        f"demo/dvc.lock of {broken[:8]} is not readable as YAML; bring it back from Git."
    ]
    assert synced.runs.made == 4


def test_a_store_that_is_away_is_one_sentence(
    repo: LockRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.run_and_commit()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(
        MalariaError, match=r"the MLflow store http://127\.0\.0\.1:9 failed"
    ) as told:
        sync_all(repo)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


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
    assert summary_of(sync_all(repo)) == "no folder has a dvc.lock there; nothing has run"


def test_a_pipeline_at_the_root_is_like_any_other(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    repo = LockRepo(tmp_path / "repo", ".")
    shutil.copy(empty_store, repo.root / "mlflow.db")
    repo.run_and_commit()
    synced = sync_all(repo)
    assert (synced.runs.made, synced.rows.made, synced.left_out) == (4, 1, [])
    assert "out.models/model.keras" in runs_of(repo, "train")[0].data.tags
