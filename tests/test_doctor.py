"""What `malaria doctor` finds, on stores, remotes and machines that are broken in known ways."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import alembic.script
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from malaria import cli, doctor
from malaria.checks import data, machine, store
from malaria.checks.finding import Finding, Level
from malaria.stage import CHECKPOINTS
from malaria.store import open_store
from tests.conftest import REPO
from tests.pipeline.test_cluster import free_port
from tests.test_experiments import git
from tests.test_lockcheck import dvc

NAME = "made-up"
Usage = namedtuple("Usage", "total used free")


def levels(found: Iterable[Finding]) -> list[tuple[Level, str]]:
    return [(finding.level, finding.check) for finding in found]


def only(found: Iterable[Finding], check: str) -> Finding:
    """Return the finding of a check that is not ok."""
    (one,) = [finding for finding in found if finding.check == check and finding.level != "ok"]
    assert one.remedy
    assert "\n" not in str(one)
    return one


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store that has one experiment, for `root` to copy."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_store(root, NAME)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a store in which an experiment has a row and a run below it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(made / "mlflow.db", root)
    return root


def client_of(root: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    return client, client.get_experiment_by_name(NAME).experiment_id


def add_run(
    root: Path, stage: str, status: str = "FINISHED", start: int = 1, parent: str | None = None
) -> str:
    client, experiment = client_of(root)
    tags = {"mlflow.parentRunId": parent} if parent else {}
    run = client.create_run(experiment, start, {"malaria.stage": stage} | tags)
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def test_a_sound_store_is_ok(root: Path, made: Path) -> None:
    row = add_run(root, "experiment")
    add_run(root, "train", parent=row)
    (made / "mlartifacts" / NAME).mkdir(parents=True, exist_ok=True)
    found = list(store.check_store(root))
    assert [finding.level for finding in found] == ["ok", "warn", "ok"]  # the artifacts: outside
    assert only(found, store.ARTIFACTS).found.endswith(f"outside of {root}")


def test_a_deleted_artifact_folder_is_named(root: Path, made: Path) -> None:
    add_run(root, "experiment")
    shutil.rmtree(made / "mlartifacts", ignore_errors=True)
    finding = only(store.check_store(root), store.ARTIFACTS)
    assert finding.level == "fail"
    assert f"the artifacts of {NAME} lie in {made}/mlartifacts/{NAME}, which is not" in str(finding)


def test_an_orphan_is_named(root: Path) -> None:
    client, _ = client_of(root)
    row = add_run(root, "experiment")
    orphan = add_run(root, "train", parent=row)
    client.delete_run(row)
    finding = only(store.check_store(root), store.RUNS)
    assert (finding.level, orphan in finding.found) == ("warn", True)


def test_a_run_that_nobody_ends_is_named_and_a_new_one_is_not(root: Path) -> None:
    left = add_run(root, "train", "RUNNING")
    add_run(root, "explore", "RUNNING", start=int(time.time() * 1000))
    finding = only(store.check_store(root), store.RUNS)
    assert finding.found == f"1 are RUNNING, but no stage runs on this machine: train ({left})"


def test_while_a_stage_runs_no_run_is_left(root: Path) -> None:
    add_run(root, "train", "RUNNING")
    (root / "stages").mkdir()
    (root / "stages/train.py").write_text("import time; print('up', flush=True); time.sleep(60)")
    command = [sys.executable, "stages/train.py"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as stage:
        assert stage.stdout is not None
        stage.stdout.readline()
        found = list(store.check_store(root))
        stage.kill()
    assert not [finding for finding in found if "RUNNING" in finding.found]


@pytest.mark.parametrize(
    ("version", "said", "remedy"),
    [
        ("oldest", "has the tables of an older MLflow", "copy it, then `uv run mlflow db upgrade"),
        ("ffffffffffff", "does not know: a newer one made them", "`uv sync`"),
        (None, "is a database, but none of MLflow's", "MLFLOW_TRACKING_URI"),
    ],
)
def test_a_store_of_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, said: str, remedy: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    scripts = alembic.script.ScriptDirectory(str(store.MIGRATIONS))
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        if version:
            oldest = list(scripts.walk_revisions())[-1].revision
            database.execute("create table alembic_version (version_num text)")
            value = oldest if version == "oldest" else version
            database.execute("insert into alembic_version values (?)", (value,))
    (finding,) = store.check_store(tmp_path)
    assert finding.level == "fail"
    assert said in finding.found
    assert remedy in finding.remedy


def test_a_file_that_is_no_database_and_an_address_that_is_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert levels(store.check_store(tmp_path)) == [("ok", store.STORE)]  # not there yet
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mlflow.db").write_text("no database" * 100)
    assert "cannot be read as a database" in only(store.check_store(tmp_path), store.STORE).found
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    assert "neither a server nor" in only(store.check_store(tmp_path), store.STORE).found


class Answer(BaseHTTPRequestHandler):
    """A server of which a test sets what it answers."""

    code = 200
    text = ""

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def do_HEAD(self) -> None:
        self.send_response(self.code)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the address of a server that answers 200."""
    monkeypatch.setattr(Answer, "code", 200)
    with HTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("code", "text", "level", "said"),
    [
        (200, "1.0.0", "warn", "runs MLflow 1.0.0, here it is "),
        (200, "<html>", "fail", "answers 200, not as an MLflow server"),
        (503, "down", "fail", "answers 503, not as an MLflow server"),
    ],
)
def test_a_server_that_is_another(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    text: str,
    level: Level,
    said: str,
) -> None:
    monkeypatch.setattr(Answer, "code", code)
    monkeypatch.setattr(Answer, "text", text)
    finding = store._server(server, server)
    assert (finding.level, said in finding.found) == (level, True)


def test_a_server_that_is_away_is_named_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:secret@{address}")
    finding = only(store.check_store(tmp_path), store.STORE)
    assert finding.found.startswith(f"http://{address} does not answer (")
    assert "secret" not in str(finding)


def remotes(root: Path, **urls: str) -> list[Finding]:
    settings = {f"remote.{name}.url": url for name, url in urls.items()}
    return list(data.check_remotes(root, settings | {"core.remote": next(iter(urls), "")}))


def test_remotes_that_answer_and_that_do_not(server: str, tmp_path: Path) -> None:
    assert levels(data.check_remotes(tmp_path, {})) == [("ok", data.REMOTE)]
    closed = f"http://ada:secret@127.0.0.1:{free_port()}"
    found = remotes(
        tmp_path, up=server, away=closed, disk=str(tmp_path), unmounted=str(tmp_path / "no")
    )
    assert [finding.level for finding in found] == ["ok", "fail", "ok", "warn"]
    assert "does not answer" in found[1].found
    assert "secret" not in str(found[1])
    (_, default) = data.check_remotes(tmp_path, {"remote.up.url": server})
    assert (default.level, default.remedy) == ("warn", "`uv run dvc remote default up`")


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("pilot", "demo"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pilot/dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  all:\n    outs:\n    - {path: a, md5: b, size: 3000000}\n"
    )
    seen = []
    for free in (2e6, 4e6, 7e6):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: Usage(9e9, 0, free))
        (finding,) = data.check_disk(tmp_path)
        seen.append((finding.level, finding.found))
    assert [level for level, _ in seen] == ["fail", "warn", "ok"]
    assert seen[0][1] == "2 MB are free, and a new run of pilot leaves 3 MB"
    (tmp_path / "pilot/dvc.lock").unlink()
    (finding,) = data.check_disk(tmp_path)
    assert (finding.level, finding.found) == ("ok", "7 MB are free; no lock tells what is needed")


def test_a_pinned_file_that_is_nowhere_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (".", "pilot", "demo"):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(REPO / folder / "params.yaml", tmp_path / folder)
    monkeypatch.delenv("MALARIA_MIRROR", raising=False)
    found = list(data.check_pinned(tmp_path))
    assert [finding.found.split(" (")[0] for finding in found] == [
        "pilot pins its zip",
        "pilot pins its weights",
    ]
    assert all("$MALARIA_MIRROR (which is not set)" in finding.found for finding in found)


def test_what_killed_processes_left_is_told(tmp_path: Path) -> None:
    assert levels(machine.check_leftovers(tmp_path)) == [("ok", machine.LEFT)]
    (tmp_path / CHECKPOINTS).mkdir(parents=True)
    (tmp_path / "pilot/data/raw").mkdir(parents=True)
    for name in ("new.keras", "old.keras"):
        (tmp_path / CHECKPOINTS / name).write_text("weights")
    os.utime(tmp_path / CHECKPOINTS / "old.keras", (1, 1))
    (tmp_path / "pilot/data/raw/cell_images.zip.part").write_text("half")
    found = list(machine.check_leftovers(tmp_path))
    assert [finding.level for finding in found] == ["ok", "warn", "warn"]
    assert "1 file of 4 bytes that were not finished (pilot/data/raw/cell" in found[2].found


def test_a_shallow_clone_and_no_repository(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "whole").mkdir(exist_ok=True)
        (tmp_path / "whole" / name).write_text(name)
        git(tmp_path / "whole", "init", "-q")
        git(tmp_path / "whole", "add", "-A")
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        git(tmp_path / "whole", *who, "commit", "-q", "-m", name)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{tmp_path}/whole", str(tmp_path / "cut"))
    assert levels(machine.check_git(tmp_path / "whole")) == [("ok", machine.GIT)]
    assert (
        only(machine.check_git(tmp_path / "cut"), machine.GIT).remedy == "`git fetch --unshallow`"
    )
    assert only(machine.check_git(tmp_path), machine.GIT).level == "fail"


def test_a_check_that_breaks_is_a_finding_and_the_exit_code_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(root: Path) -> Iterator[Finding]:
        yield Finding("ok", "one", "is fine")
        raise OSError("the disk\nis gone")

    monkeypatch.setattr("malaria.root.ROOT", tmp_path)
    monkeypatch.setattr(doctor, "CHECKS", {"broken": broken})
    told = CliRunner().invoke(cli.app, ["doctor"])
    assert told.exit_code == 1
    assert told.output == (
        "ok   one: is fine\nfail broken: cannot be checked (the disk is gone); mend that\n"
    )
    monkeypatch.setattr(doctor, "CHECKS", {"git": machine.check_leftovers})
    told = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert told.exit_code == 0
    assert json.loads(told.output)[0]["level"] == "ok"


@pytest.mark.slow  # DVC takes seconds to start
@pytest.mark.parametrize(
    ("kind", "level", "said"),
    [
        ("copy", "ok", "copies, so data lies in the cache and beside it"),
        ("hardlink", "ok", "hardlinks, so data lies on the disk once"),
        ("reflink", "fail", "cache.type is reflink, but between cache and work tree there is only"),
    ],
)
def test_how_files_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, level: Level, said: str
) -> None:
    git(tmp_path, "init", "-q")
    dvc(tmp_path, "init", "-q")
    assert "no cache yet" in next(data.check_dvc(tmp_path)).found
    dvc(tmp_path, "config", "cache.type", kind)
    (tmp_path / ".dvc/cache/files/md5").mkdir(parents=True)
    finding = next(data.check_dvc(tmp_path))
    if kind == "reflink" and finding.level == "ok":
        pytest.skip("this disk has reflinks")
    assert (finding.level, finding.found.startswith(said)) == (level, True), finding


@pytest.mark.slow  # starts Keras
def test_a_gpu_that_is_asked_for_and_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    for folder in (".", "pilot", "demo"):
        params = (REPO / folder / "params.yaml").read_text()
        (tmp_path / folder).mkdir(exist_ok=True)
        text = params.replace("device: auto", "device: gpu") if folder == "demo" else params
        (tmp_path / folder / "params.yaml").write_text(text)
    (first, *_) = machine.check_gpu(tmp_path)
    assert first.level == "fail"
    assert first.found.startswith("demo has train.device gpu, but Keras' tensorflow backend sees")
