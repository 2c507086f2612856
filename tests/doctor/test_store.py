"""What `malaria doctor` finds in MLflow stores that are broken in known ways."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from malaria.doctor.finding import Finding
from malaria.doctor.store import MIGRATIONS, check_store
from malaria.errors import MalariaError
from malaria.tracking.process import this_process
from malaria.tracking.server import HERE, find_port
from malaria.tracking.store import open_store
from malaria.tracking.write import PROCESS

NAME = "made-up"


def problem(root: Path) -> Finding:
    """Return the finding that is not ok."""
    (one,) = [finding for finding in check_store(root) if finding.level != "ok"]
    assert one.remedy
    assert "\n" not in str(one)
    return one


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that has one experiment."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_store(root, NAME)
    (root / "mlartifacts" / NAME).mkdir(parents=True)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "root"))


def add_run(root: Path, status: str, start: int = 1) -> str:
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name(NAME).experiment_id
    run_id = client.create_run(experiment, start, {"malaria.stage": "train"}).info.run_id
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    return str(run_id)


def test_a_sound_store_is_ok(made: Path) -> None:
    add_run(made, "FINISHED")
    (finding,) = check_store(made)
    assert (finding.level, finding.found) == (
        "ok",
        f"sqlite:///{made}/mlflow.db has 1 runs in 1 experiments",
    )


def test_artifacts_outside_the_repository_or_nowhere_are_named(root: Path, made: Path) -> None:
    add_run(root, "FINISHED")  # of an experiment whose artifacts stayed in the other folder
    folder = made / "mlartifacts" / NAME
    found = f"the artifacts of {NAME} are in {folder}"
    finding = problem(root)
    assert (finding.level, finding.found) == ("warn", f"{found}, outside {root}")
    assert (
        finding.remedy
        == "if the repository was copied or moved, `uv run malaria sync` corrects that"
    )
    folder.rename(made / "away")
    finding = problem(root)
    assert (finding.level, finding.found) == ("fail", f"{found}, which does not exist")
    (made / "away").rename(folder)
    open_store(root, NAME)
    (root / "mlartifacts" / NAME).mkdir(parents=True, exist_ok=True)
    assert [finding.level for finding in check_store(root)] == ["ok"]


def test_a_run_that_nobody_will_end_is_named_and_a_new_one_is_not(root: Path) -> None:
    shutil.rmtree(root / "mlartifacts")
    left = add_run(root, "RUNNING")
    add_run(root, "RUNNING", start=int(time.time() * 1000))
    (finding,) = [finding for finding in check_store(root) if "RUNNING" in finding.found]
    assert (finding.level, finding.found) == (
        "warn",
        f"train's run {left} is RUNNING for over a day",
    )
    assert f"delete --run-id {left}" in finding.remedy


def test_a_run_whose_process_was_killed_is_named_at_once_and_a_live_one_never(root: Path) -> None:
    open_store(root, NAME)
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    live = this_process()
    for mark in (live, f"{live}0"):
        client.set_tag(add_run(root, "RUNNING"), PROCESS, mark)
    left = client.search_runs(["1"], f"tags.`{PROCESS}` = '{live}0'")[0].info.run_id
    finding = problem(root)
    assert (finding.level, finding.remedy) == ("warn", "`uv run malaria sync` closes it")
    assert finding.found.startswith(f"train's run {left} is RUNNING, but its process has ended")


def test_a_deleted_experiment_is_named_with_what_restores_it(root: Path) -> None:
    client, number = open_store(root, NAME)
    client.delete_experiment(number)
    (root / "params.yaml").write_text(f"mlflow: {{experiment: {NAME}}}\n")
    finding = problem(root)
    assert (finding.level, finding.found) == (
        "fail",
        f"the MLflow experiment {NAME} is deleted, and stages log nothing to it",
    )
    assert finding.remedy == (
        f"restore it with `uv run mlflow experiments restore --experiment-id {number}`, at the "
        "repository's root"
    )


def test_a_store_that_is_held_or_a_folder_or_has_no_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert problem(root).remedy.startswith("end the program that holds it")
    (root / "mlflow.db").unlink()
    (root / "mlflow.db").mkdir()
    for address, said in (("", "is a folder; move it away"), ("sqlite:///", "names no file")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(MalariaError, match=said):  # `examine` makes a finding of it
            list(check_store(root))


@pytest.mark.parametrize(
    ("version", "found", "remedy"),
    [
        ("older", "has the tables of an older MLflow", "copy it, then run `uv run mlflow db upgr"),
        ("ffffffffffff", "has the tables of a newer MLflow (ffffffffffff)", "`uv sync`"),
        (None, "is not a database of MLflow", "MLFLOW_TRACKING_URI"),
    ],
)
def test_tables_of_another_version(
    tmp_path: Path, version: str | None, found: str, remedy: str
) -> None:
    if version == "older":
        version = min(MIGRATIONS.glob("*.py")).name.partition("_")[0]
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        if version:
            database.execute("create table alembic_version (version_num text)")
            database.execute("insert into alembic_version values (?)", (version,))
    before = (tmp_path / "mlflow.db").read_bytes()
    finding = problem(tmp_path)
    assert (finding.level, found in finding.found) == ("fail", True)
    assert remedy in finding.remedy
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_a_store_that_is_not_there_yet_is_ok_and_is_not_made(tmp_path: Path) -> None:
    (finding,) = check_store(tmp_path)
    assert (finding.level, "does not exist yet" in finding.found) == ("ok", True)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_and_an_address_that_is_not_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_text("no database" * 100)
    finding = problem(tmp_path)
    assert "is not readable ((sqlite3.DatabaseError) file is not a database" in finding.found
    assert "`uv run malaria sync`" in finding.remedy
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    assert problem(tmp_path).remedy.startswith("check MLFLOW_TRACKING_URI (a server or a database)")


def test_a_server_that_is_away_is_named_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{HERE}:{find_port(HERE, [0])}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:secret@{address}")
    finding = problem(tmp_path)
    assert finding.level == "fail"
    assert finding.found.startswith(f"http://{address} is not readable (")
    assert "secret" not in str(finding)
