"""From a file to its runs."""

import json
import re
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from malaria.cli.main import app
from malaria.errors import MalariaError
from malaria.pipeline.history import worktree
from malaria.tracking.lineage import find_hash, uses_of
from malaria.tracking.sync import sync
from tests.lock_repo import LockRepo, md5_of


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> LockRepo:
    """Two experiments that share all but train and what follows."""
    patch = pytest.MonkeyPatch()
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    repo = LockRepo(tmp_path_factory.mktemp("lineage") / "repo")
    for epochs in (2, 3):
        repo.run_and_commit(train={"epochs": epochs})
        sync(repo.root, [worktree(repo.root)])
    patch.undo()
    return repo


@pytest.fixture(autouse=True)
def here(repo: LockRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(repo.folder)
    monkeypatch.setattr("malaria.cli.root.ROOT", repo.root)


def found(repo: LockRepo, file: str) -> list[tuple[str, str, str]]:
    return [(use.how, use.stage, use.path) for use in uses_of(repo.root, file)]


def test_a_model_was_made_by_one_run_and_read_by_another(repo: LockRepo) -> None:
    path = "demo/models/model.keras"
    expected = [("made", "train", path), ("read", "evaluate", path)]
    assert sorted(found(repo, "models/model.keras")) == expected
    assert sorted(found(repo, md5_of(repo.folder / "models/model.keras").upper())) == expected
    uses = {use.stage: use for use in uses_of(repo.root, "models/model.keras")}
    client = MlflowClient(f"sqlite:///{repo.root / 'mlflow.db'}")
    tags = client.get_run(uses["evaluate"].run_id).data.tags
    assert tags[f"malaria.made_by.{path}"] == uses["train"].run_id
    assert client.get_run(uses["train"].row).data.params["train.epochs"] == "3"


def test_data_that_two_experiments_share_lists_the_runs_of_both(repo: LockRepo) -> None:
    stages = sorted(stage for _, stage, _ in found(repo, "data/cells.csv"))
    assert stages == ["side", "split", "train", "train"]


def test_code_was_read(repo: LockRepo) -> None:
    assert found(repo, "stages/split.py") == [("read", "split", "stages/split.py")]


def test_a_file_that_is_not_here_is_looked_up_in_the_lock(repo: LockRepo) -> None:
    model = repo.folder / "models/model.keras"
    content = model.read_bytes()
    before = find_hash(repo.root, "models/model.keras")
    try:
        model.unlink()
        assert find_hash(repo.root, "models/model.keras") == before
    finally:
        model.write_bytes(content)


def test_what_is_neither_file_nor_hash_is_told(repo: LockRepo) -> None:
    with pytest.raises(
        MalariaError, match=r"^nothing is neither a file here nor an output of a dvc\.lock"
    ):
        uses_of(repo.root, "nothing")


def test_without_a_store_one_is_told_how_to_make_it(repo: LockRepo, tmp_path: Path) -> None:
    shutil.copytree(repo.folder, tmp_path / "demo")
    with pytest.raises(MalariaError, match=r"there is no MLflow store at .* `uv run malaria sync`"):
        uses_of(tmp_path, "models/model.keras")
    assert not (tmp_path / "mlflow.db").exists()


def test_the_command_lists_them_and_says_when_there_are_none(repo: LockRepo) -> None:
    run = CliRunner().invoke
    listed = run(app, ["runs", "models/model.keras"])
    assert listed.exit_code == 0
    head, *lines = listed.stdout.splitlines()
    assert head.split() == [
        "stage",
        "started",
        "(UTC)",
        "status",
        "experiment",
        "commit",
        "run",
        "file",
    ]
    assert [line.split()[:2] for line in sorted(lines)] == [["made", "train"], ["read", "evaluate"]]
    for name, text in (("status", "FINISHED, rebuilt"), ("experiment", r"[0-9a-f]{8}, basic_cnn")):
        assert all(re.match(text, line[head.index(name) :]) for line in lines)
    told = json.loads(run(app, ["runs", "data/cells.csv", "--json"]).stdout)
    assert {use["how"] for use in told} == {"made", "read"}
    assert all(use["rebuilt"] and use["started"].endswith("+00:00") for use in told)
    none = run(app, ["runs", "f" * 32])
    assert none.exit_code == 1
    assert none.stderr.splitlines()[-1] == f"no run of the store read or made {'f' * 32}"
    empty = run(app, ["runs", "f" * 32, "--json"])
    assert (empty.exit_code, json.loads(empty.stdout)) == (1, [])
