"""Planted passwords and tokens, searched in all that a run, a sync and a failure leave."""

from pathlib import Path

import pytest

from malaria.doctor.store import check_store
from malaria.errors import MalariaError
from malaria.pipeline.facts import read_facts
from malaria.tracking.link import run_address
from malaria.tracking.live import StageRun
from malaria.tracking.ui import show
from tests import lock_repo
from tests.lock_repo import LockRepo
from tests.tracking.live_stage import prepare
from tests.tracking.stored import runs_of, sync_all

PLANTED = "planted"
AWAY = "127.0.0.1:9"
ADDRESSES = [
    f"http://ada:{PLANTED}@{AWAY}",
    f"http://ada:pa@{PLANTED}@{AWAY}",
    f"http://ada:pa/{PLANTED}@{AWAY}",
    f"http://{AWAY}/?token={PLANTED}",
    f"http://{PLANTED}@{AWAY}",
    f"postgresql://ada:{PLANTED}@{AWAY}/db",
    f"postgresql://ada:pa@{PLANTED}@{AWAY}/db",
    f"postgresql://ada:{PLANTED}@pa@{AWAY}/db",
    f"postgresql://{AWAY}/db?user=ada&password={PLANTED}",
    f"postgresql://ada@{AWAY}/db?passwort=x&secret={PLANTED}",
    f"nothing://ada:{PLANTED}@{AWAY}",
    f"sqlite://ada:{PLANTED}@{AWAY}/mlflow.db",
    f"sqlite:///?password={PLANTED}",
]
URL = f"https://ada:pa@{PLANTED}@h.example.org/x.zip?a=1&token={PLANTED}"


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_form_of_a_stores_address_shows_its_secret(
    repo: LockRepo,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    address: str,
) -> None:
    repo.run_and_commit()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(MalariaError) as told:
        sync_all(repo)
    said = [str(told.value)]
    try:
        said += [str(finding) for finding in check_store(repo.root)]
    except MalariaError as error:
        said.append(str(error))
    lines: list[str] = []
    try:
        show(repo.root, "127.0.0.1", None, lines.append, lines.append)
    except MalariaError as error:
        said.append(str(error))
    run_address(repo.root, "demo")
    assert AWAY in said[0] or "names no file" in said[0]
    printed = capfd.readouterr()
    assert PLANTED not in "".join([*said, *lines, printed.out, printed.err])


def everything(root: Path) -> bytes:
    """Return the bytes of the store and of all artifacts."""
    files = [root / "mlflow.db", *(root / "mlartifacts").rglob("*")]
    return b"".join(path.read_bytes() for path in files if path.is_file())


def test_an_address_of_data_with_a_password_in_git_is_not_carried_into_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    keys, *others = lock_repo.STAGES["side"]
    monkeypatch.setitem(lock_repo.STAGES, "side", ([*keys, "fetch.url"], *others))
    monkeypatch.setitem(lock_repo.PARAMS, "fetch", {"url": "local.zip"})
    repo = LockRepo(tmp_path / "repo")
    repo.run_and_commit()
    repo.run_and_commit(fetch={"url": URL})
    sync_all(repo, all_commits=True)
    (side,) = [run for run in runs_of(repo, "side") if "***" in run.data.params["fetch.url"]]
    assert side.data.params["fetch.url"] == "https://h.example.org/x.zip?a=1&token=***"
    assert PLANTED.encode() not in everything(repo.root)
    assert sync_all(repo, all_commits=True).runs.completed == 0


def test_a_failure_with_the_stores_address_in_it_is_logged_without_its_secret(
    repo: LockRepo, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    repo.run_and_commit()
    prepare(repo)
    params = {"train": {"model": "m", "epochs": 2}, "split": {"seed": 1}, "side": {"knob": 1}}
    run = StageRun(read_facts(repo.folder, "train", params), "small")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESSES[1])
    run.fail(f"no {PLANTED}@{AWAY} nor {URL}", f"Traceback: {ADDRESSES[1]}: {PLANTED} {URL}")
    (failed,) = runs_of(repo, "train")
    assert failed.info.status == "FAILED"
    assert b"Traceback" in everything(repo.root)
    assert PLANTED.encode() not in everything(repo.root)
    printed = capfd.readouterr()
    assert PLANTED not in printed.out + printed.err
