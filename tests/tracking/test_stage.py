"""How a stage ends: a sentence for what a user can correct, and the run closed as what it was."""

import errno
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from malaria.core.yaml_files import dump_yaml
from malaria.errors import MalariaError
from malaria.paths import LOCK, MODEL
from malaria.pipeline.cache import cached_path
from malaria.pipeline.facts import StageFacts, key_of
from malaria.pipeline.lock import Entry
from malaria.tracking import stage
from malaria.tracking.live import StageRun
from malaria.training.checkpoint import FINISHED, HISTORY, Checkpoint, Snapshot

Ended = Callable[..., str]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ended:
    """Return a function that runs a stage which raises, and gives what it exits with."""
    facts = SimpleNamespace(checkpoints=tmp_path, key="key")
    run = SimpleNamespace(fail=lambda *_, **__: None, finish=lambda *_: None)
    monkeypatch.setattr(stage, "load_study", lambda: {"mlflow": {"experiment": "x"}})
    monkeypatch.setattr(stage, "read_facts", lambda *_: facts)
    monkeypatch.setattr(stage, "StageRun", lambda *_, **__: run)
    monkeypatch.setattr(stage, "_delete_committed", lambda facts: None)

    def run_it(error: BaseException, name: str = "split") -> str:
        def main(run: StageRun) -> None:
            raise error

        with pytest.raises(SystemExit) as caught:
            stage.run_stage(name, main)
        return str(caught.value)

    return run_it


def test_what_a_user_can_correct_is_one_sentence(ended: Ended) -> None:
    assert ended(MalariaError("this is wrong; do that.")) == "split: this is wrong; do that."
    full = OSError(errno.ENOSPC, "No space left on device")
    assert ended(full).startswith("split: the disk is full; free some space")
    for code in (errno.EACCES, errno.EROFS):
        refused = OSError(code, "Not permitted", "reports/x.csv")
        assert ended(refused) == (
            "split: reports/x.csv cannot be read or written (Not permitted); correct its owner or "
            "permissions and run the same command again."
        )


@pytest.mark.parametrize(
    ("name", "epochs", "said"),
    [
        ("train", 3, "whole epochs that are kept: 3; the same command resumes after them"),
        ("train", 0, "the same command runs this stage again, and those before it are kept"),
        ("fetch", 3, "what a download has so far is kept, and the same command resumes it"),
    ],
)
def test_an_interrupted_stage_says_what_is_kept(
    ended: Ended,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    epochs: int,
    said: str,
) -> None:
    if epochs:
        Checkpoint(tmp_path, "key").write(Snapshot({}, {HISTORY: [{}] * epochs}))
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert ended(KeyboardInterrupt(), name) == "130"
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
            signal.signal(number, handler)
    assert capsys.readouterr().err == f"{name}: interrupted; {said}.\n"


def test_any_other_error_shows_where_it_came_from(ended: Ended) -> None:
    with pytest.raises(ZeroDivisionError):
        ended(ZeroDivisionError())


def forbidden(path: Path, missing_ok: bool = False) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


LOCKED = {
    "cmd": "python stages train",
    "deps": [{"path": "data/cells.csv", "hash": "md5", "md5": "1" * 32, "size": 1}],
    "params": {"params.yaml": {"train": {"epochs": 2}}},
    "outs": [{"path": MODEL, "hash": "md5", "md5": "2" * 32, "size": 1}],
}


def test_a_checkpoint_goes_only_when_dvc_has_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setattr(stage, "cache_folder", lambda root: cache)
    entry = Entry("demo", "train", LOCKED)
    facts = cast(StageFacts, cast(Any, SimpleNamespace(checkpoints=tmp_path / "all", entry=entry)))
    own = Checkpoint(facts.checkpoints, key_of(entry))
    other = Checkpoint(facts.checkpoints, "other")
    steps = ("no lock", "another lock", "no model", "not finished", "all there")
    for step in steps:
        for checkpoint in (own, other):
            checkpoint.write(Snapshot({}, {FINISHED: step != "not finished"}))
        changed = LOCKED | {"params": {"params.yaml": {"train": {"epochs": 3}}}}
        locked = changed if step == "another lock" else LOCKED
        if step != "no lock":
            Path(LOCK).write_text(dump_yaml({"schema": "2.0", "stages": {"train": locked}}))
        if step not in steps[:3]:
            cached_path(cache, "2" * 32).parent.mkdir(parents=True, exist_ok=True)
            cached_path(cache, "2" * 32).touch()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", forbidden)
            stage._delete_committed(facts)  # stops no stage
        stage._delete_committed(facts)
        assert own.path.exists() == (step != "all there"), step
        assert other.path.exists(), step
