"""Stores that do not open: one sentence, in seconds, and the stage goes on."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.tracking.lineage import uses_of
from malaria.tracking.server import HERE, find_port
from malaria.tracking.store import answering, open_store
from tests.conftest import REPO
from tests.lock_repo import LockRepo
from tests.tracking.live_stage import SCRIPT, prepare
from tests.tracking.stored import client_of, runs_of, sync_all

LIMIT_S = 5 + 3  # of a call, and what a busy machine adds to it
SLOW = 60  # seconds until a process has imported MLflow; what a stage took before is far more


@contextmanager
def silent_server(answer: bytes = b"") -> Iterator[int]:
    """Give the port of a server that takes connections and never gives a whole answer."""
    with socket.create_server((HERE, 0)) as server:
        taken = []

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                taken.append(connection)
                connection.sendall(answer)

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        for connection in taken:
            connection.close()


def refused(root: Path) -> tuple[str, float]:
    """Return what is said of a store that cannot be opened, and the seconds until then."""
    start = time.monotonic()
    with pytest.raises(MalariaError) as told, answering(root):
        open_store(root, "small")
    assert "\n" not in str(told.value)
    return str(told.value), time.monotonic() - start


def test_a_new_store_has_no_experiment_but_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path / "demo")  # where a stage runs
    for _ in range(2):
        client, _ = open_store(tmp_path, "small")
        assert [found.name for found in client.search_experiments()] == ["small"]
    places = [found.artifact_location for found in client.search_experiments()]
    assert places == [(tmp_path / "mlartifacts/small").as_uri()]


@pytest.mark.parametrize("kind", ["http", "postgresql", "postgresql+psycopg"])
@pytest.mark.parametrize("how", ["refuses", "is silent"])
def test_a_server_that_does_not_answer_costs_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    with silent_server() as silent:
        port = silent if how == "is silent" else find_port(HERE, [0])
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{kind}://ada:planted@{HERE}:{port}/db")
        monkeypatch.setattr("malaria.tracking.store.UPLOAD_LIMIT_S", 5)  # as a stage has it
        said, seconds = refused(tmp_path)
    assert seconds < LIMIT_S
    assert f"{kind}://{HERE}:{port}/db failed (" in said
    assert "planted" not in said


def test_a_store_that_another_program_holds(repo: LockRepo) -> None:
    with closing(sqlite3.connect(repo.root / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        said, seconds = refused(repo.root)
    assert seconds < LIMIT_S
    assert said.startswith(f"the MLflow store sqlite:///{repo.root}/mlflow.db failed (")
    assert "database is locked); end the program that holds it" in said


def test_a_path_that_is_too_long_for_sqlite(tmp_path: Path) -> None:
    root = tmp_path.joinpath(*["x" * 200] * 4)
    root.mkdir(parents=True)
    said, seconds = refused(root)
    assert seconds < LIMIT_S
    assert "failed (unable to open database file); see that you may write there and that" in said


def test_a_store_that_is_a_folder(repo: LockRepo) -> None:
    (repo.root / "mlflow.db").unlink()
    (repo.root / "mlflow.db").mkdir()
    said, seconds = refused(repo.root)
    assert seconds < LIMIT_S
    assert "is a folder; move it away" in said
    with pytest.raises(MalariaError, match="is a folder; move it away"):
        uses_of(repo.root, "0" * 32)


@pytest.mark.parametrize("store", ["locked", "folder", "sqlite:///", "silent"])
def test_a_stage_prints_one_sentence_and_goes_on(
    repo: LockRepo, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    repo.run()
    prepare(repo)
    database = repo.root / "mlflow.db"
    with silent_server() as port, closing(sqlite3.connect(":memory:")) as other:
        if store == "locked":
            other.execute("ATTACH ? AS held", (str(database),))
            other.execute("BEGIN EXCLUSIVE")
        elif store == "folder":
            database.unlink()
            database.mkdir()
        elif store == "silent":
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://ada:planted@{HERE}:{port}/db")
        else:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        start = time.monotonic()
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT.replace("time.sleep(600)", "")],
            cwd=repo.folder,
            env=os.environ | {"PYTHONPATH": str(REPO)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert time.monotonic() - start < SLOW
    assert result.stdout == "\n"
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("mlflow: ")
    assert sentence.endswith(
        "train continues and logs nothing more; `uv run malaria sync` adds it later."
    )
    assert "planted" not in sentence


def test_a_deleted_experiment_is_named_with_what_restores_it(repo: LockRepo) -> None:
    repo.run_and_commit()
    sync_all(repo)
    client, number = open_store(repo.root, "small")
    client.delete_experiment(number)
    with pytest.raises(MalariaError) as told:
        sync_all(repo)
    sentence = str(told.value)
    assert sentence.startswith("the MLflow experiment small is deleted; restore it with `uv run ")
    with pytest.raises(MalariaError, match="the MLflow experiment small is deleted; restore it"):
        uses_of(repo.root, str(repo.folder / "data/cells.csv"))
    command = re.search("`uv run ([^`]+)`", sentence)
    assert command is not None
    env = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    restore = [sys.executable, "-m", *command[1].split()]
    subprocess.run(restore, cwd=repo.root, env=env, check=True, capture_output=True)
    synced = sync_all(repo)
    assert (synced.runs.made, synced.runs.complete) == (0, 4)
    assert uses_of(repo.root, str(repo.folder / "data/cells.csv"))


def test_an_old_name_with_a_path_in_it_writes_nothing_outside(repo: LockRepo) -> None:
    repo.run_and_commit(mlflow={"experiment": "../../outside"})
    sync_all(repo)
    assert {run.info.status for run in runs_of(repo, "train")} == {"FINISHED"}
    names = [experiment.name for experiment in client_of(repo).search_experiments()]
    assert sorted(names) == ["Default", "malaria"]
    assert not (repo.root.parent / "outside").exists()
    assert not (repo.root / "mlartifacts/../../outside").exists()
