"""Repositories that were copied or moved together with their store, or have odd names."""

import shutil
from pathlib import Path

import pytest

from tests.lock_repo import LockRepo
from tests.tracking.stored import client_of, dump, runs_of, sync_all

NEXT = {"train": {"epochs": 3}}


def files_below(folder: Path) -> dict[str, int]:
    """Return when each file was written."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def artifacts_of(repo: LockRepo) -> dict[str, list[str]]:
    """Return the bytes of each run's artifacts, as MLflow finds them."""
    client, found = client_of(repo), {}
    for stage in ("train", "evaluate", "experiment"):
        for run in runs_of(repo, stage):
            folder = Path(client.download_artifacts(run.info.run_id, ""))
            assert folder.is_relative_to(repo.root / "mlartifacts")
            found[run.info.run_id] = sorted(files_below(folder))
    return found


def elsewhere(repo: LockRepo, root: Path) -> LockRepo:
    """Return the same repository in another folder."""
    there = object.__new__(LockRepo)
    there.__dict__ |= repo.__dict__ | {"root": root, "folder": root / "demo"}
    return there


@pytest.mark.parametrize("name", ["other", "Kopie mit äöü"])
@pytest.mark.parametrize("how", ["copied", "moved"])
def test_its_artifacts_are_its_own(
    repo: LockRepo, capsys: pytest.CaptureFixture[str], how: str, name: str
) -> None:
    repo.run_and_commit()
    sync_all(repo)
    before, root = artifacts_of(repo), repo.root
    there = elsewhere(repo, root.with_name(name))
    if how == "copied":
        shutil.copytree(root, there.root, symlinks=True)
    else:
        root.rename(there.root)
    files = files_below(root / "mlartifacts")
    there.run_and_commit(**NEXT)
    sync_all(there)
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        f"mlflow: the store was made beside {root}/mlartifacts; from now on its artifacts are in "
        f"{there.root}/mlartifacts."
    )
    after = artifacts_of(there)
    assert {run: after[run] for run in before} == before
    assert len(after) == len(before) + 3
    assert files_below(root / "mlartifacts") == files
    assert root.exists() == (how == "copied")
    rows = dump(there)
    sync_all(there)
    assert dump(there) == rows
    assert not capsys.readouterr().err


def test_a_store_that_was_copied_alone_says_where_its_artifacts_are(
    repo: LockRepo, capsys: pytest.CaptureFixture[str]
) -> None:
    repo.run_and_commit()
    sync_all(repo)
    there = elsewhere(repo, repo.root.with_name("other"))
    shutil.copytree(repo.root, there.root, symlinks=True)
    shutil.rmtree(there.root / "mlartifacts")
    sync_all(there)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith(
        f", to which `cp -r {repo.root}/mlartifacts {there.root}` brings the earlier ones."
    )


def test_a_link_to_the_repository_is_the_same_place(
    repo: LockRepo, capsys: pytest.CaptureFixture[str]
) -> None:
    repo.run_and_commit()
    sync_all(repo)
    before = dump(repo)
    link = repo.root.with_name("link")
    link.symlink_to(repo.root)
    sync_all(elsewhere(repo, link))
    assert dump(repo) == before
    assert not capsys.readouterr().err


def test_artifacts_in_a_folder_that_no_address_of_a_database_can_name(
    repo: LockRepo, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = elsewhere(repo, repo.root.with_name("100%20?"))
    repo.root.rename(there.root)
    shutil.copy(empty_store, there.root.parent / "store.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{there.root.parent}/store.db")
    there.run_and_commit()
    sync_all(there)
    assert [*(there.root / "mlartifacts/small").rglob("metrics.json")]
    assert sorted(path.name for path in there.root.parent.iterdir() if path.is_dir()) == ["100%20?"]
