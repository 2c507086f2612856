"""Runs of processes that are at work, and of those that were killed."""

import os
import subprocess
import sys

import pytest
from mlflow.store.artifact import local_artifact_repo

from malaria.tracking import process as module
from malaria.tracking.clean_up import WAS_KILLED
from malaria.tracking.places import UPLOADING
from malaria.tracking.process import has_ended, this_process
from malaria.tracking.write import ERROR, PROCESS
from tests.lock_repo import LockRepo
from tests.tracking.live_stage import live_training
from tests.tracking.stored import client_of, dump, runs_of, sync_all


def test_a_process_is_known_while_it_is_there() -> None:
    own = this_process()
    assert has_ended({PROCESS: own}) is False
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    machine, _, _ = own.rsplit(" ", 2)
    mark = f"{machine} {child.pid} {module._start_of(child.pid)}"
    assert has_ended({PROCESS: mark}) is False
    child.kill()
    while not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT):
        pass
    assert has_ended({PROCESS: mark}) is True  # dead, and nobody has taken note of it
    child.communicate()
    assert has_ended({PROCESS: mark}) is True


def test_another_process_with_the_same_number_is_another_one() -> None:
    machine, number, start = this_process().rsplit(" ", 2)
    assert has_ended({PROCESS: f"{machine} {number} {start}0"}) is True


@pytest.mark.parametrize("mark", ["", "elsewhere 0123 1 2", "x"])
def test_of_another_machine_nothing_is_known(mark: str) -> None:
    assert has_ended({PROCESS: mark} if mark else {}) is None


def test_a_live_run_is_left_alone_and_a_dead_one_is_what_it_left(repo: LockRepo) -> None:
    repo.run_and_commit()
    with live_training(repo) as (live, process):
        before = client_of(repo).get_run(live).to_dictionary()
        synced = sync_all(repo)
        assert [run.info.run_id for run in runs_of(repo, "train")] == [live]
        assert client_of(repo).get_run(live).to_dictionary() == before
        (row,) = runs_of(repo, "experiment")
        assert row.info.status == "RUNNING"
        assert [note for note in synced.notes if live in note and "runs at this moment" in note]
        process.kill()
        process.wait()
    synced = sync_all(repo)  # its epoch is that of the committed history
    (run,) = runs_of(repo, "train")
    assert (run.info.run_id, run.info.status) == (live, "FINISHED")
    assert runs_of(repo, "experiment")[0].info.status == "FINISHED"
    assert not synced.notes


def test_a_killed_run_is_closed_by_sync_whatever_dvc_says(repo: LockRepo) -> None:
    repo.run_and_commit()
    sync_all(repo)  # so the lock's entry has its run
    with live_training(repo) as (live, process):
        sync_all(repo)
        assert client_of(repo).get_run(live).info.status == "RUNNING"
        assert runs_of(repo, "experiment")[0].info.status == "RUNNING"
        process.kill()
        process.wait()
    synced = sync_all(repo)
    killed = client_of(repo).get_run(live)
    assert (killed.info.status, killed.data.tags[ERROR]) == ("KILLED", WAS_KILLED)
    assert len(runs_of(repo, "train")) == 2
    assert runs_of(repo, "experiment")[0].info.status == "FINISHED"
    assert [note for note in synced.notes if live in note and "is KILLED now" in note]
    before = dump(repo)
    assert not sync_all(repo).notes
    assert dump(repo) == before


def test_a_run_that_was_killed_before_there_was_a_lock_is_closed_too(repo: LockRepo) -> None:
    repo.run()
    (repo.folder / "dvc.lock").unlink()
    with live_training(repo) as (first, process):
        process.kill()
        process.wait()
    sync_all(repo)
    statuses = {
        run.info.status for stage in ("train", "experiment") for run in runs_of(repo, stage)
    }
    assert statuses == {"KILLED"}
    assert client_of(repo).get_run(first).data.tags[ERROR] == WAS_KILLED


def test_the_next_stage_closes_it(repo: LockRepo) -> None:
    repo.run()
    with live_training(repo) as (first, process):
        process.kill()
        process.wait()
    with live_training(repo) as (second, _):
        statuses = {run.info.run_id: run.info.status for run in runs_of(repo, "train")}
        assert statuses == {first: "KILLED", second: "RUNNING"}
        assert runs_of(repo, "experiment")[0].info.status == "RUNNING"


def test_half_artifacts_of_killed_calls_go_and_those_of_live_ones_stay(repo: LockRepo) -> None:
    repo.run_and_commit()
    sync_all(repo)
    with live_training(repo) as (live, process):
        run_ids = [live, runs_of(repo, "evaluate")[0].info.run_id]
        folders = [
            repo.root / "mlartifacts/small" / run_id / "artifacts/tables" for run_id in run_ids
        ]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{UPLOADING}x").write_text("half")
        sync_all(repo)
        assert [(folder / f"{UPLOADING}x").exists() for folder in folders] == [True, False]
        process.kill()
        process.wait()
    sync_all(repo)
    assert not [*repo.root.rglob(f"{UPLOADING}*")]


def test_the_prefix_is_mlflows() -> None:
    assert local_artifact_repo._TEMP_ARTIFACT_PREFIX == UPLOADING
