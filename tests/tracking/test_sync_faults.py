"""Synchronising with files missing, calls interrupted, and a store that lacks or loses runs."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from malaria.errors import MalariaError
from malaria.tracking import runs
from malaria.tracking.store import open_store
from malaria.tracking.sync_result import summary_of
from tests.lock_repo import LockRepo
from tests.tracking.stored import client_of, dump, runs_of, sync_all, table


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
    assert {(left.path, left.reason) for left in synced.skipped} == {
        ("demo/data/cells.csv", "not in DVC's cache"),
        ("demo/reports/report.html", "not in DVC's cache"),
    }
    said = summary_of(synced, repo.root)
    assert "skipped: demo/data/cells.csv, not in DVC's cache" in said
    assert "remote" not in said  # none is set
    assert synced.runs.made == 4
    assert "train.n_cells" not in runs_of(repo, "split")[0].data.params
    assert runs_of(repo, "experiment")[0].data.metrics == {"test.accuracy": 1 / 3}
    before = dump(repo)
    assert len(sync_all(repo).skipped) == 2
    assert dump(repo) == before
    for path, content in kept.items():
        path.write_bytes(content)
    synced = sync_all(repo)
    assert (synced.runs.completed, synced.rows.completed, synced.skipped) == (2, 1, [])
    assert table(repo) == whole


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

    for name in ("create", "log", "log_files", "log_inputs", "_close"):
        monkeypatch.setattr(runs, name, counted(getattr(runs, name)))


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
    for key, value in {"loss": loss, "val_loss": loss / 3}.items():
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
    (left,) = synced.skipped
    assert (left.path, left.stage) == ("demo/reports/train.json", "train")
    assert left.reason.startswith("of another schema (AttributeError")
    assert runs_of(repo, "train")[0].data.metrics["loss"] == 1 / 3


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


@pytest.mark.parametrize("failing", ["shutil.copyfile", "tempfile.TemporaryDirectory"])
def test_a_full_disk_is_one_sentence_and_the_next_call_goes_on(
    repo: LockRepo, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    repo.run_and_commit()

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(failing, full)
        with pytest.raises(MalariaError, match=r"No space left on device.*\); free some space\."):
            sync_all(repo)
    sync_all(repo)
    assert {run.info.status for run in runs_of(repo, "train")} == {"FINISHED"}


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
