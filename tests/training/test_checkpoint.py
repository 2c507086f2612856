"""Checkpoints: complete or not at all, reported when damaged, and resumed to the same weights."""

import errno
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malaria.errors import MalariaError
from malaria.models.base.recipe import Augmentation
from malaria.models.systems import basic_cnn
from malaria.training import backend
from malaria.training import train as training
from malaria.training.checkpoint import FINISHED, KEPT_DAYS, Checkpoint, Snapshot
from malaria.training.fitting import Epoch
from malaria.training.train import train
from tests.training.toy import PLAIN, all_equal, bright_and_dark, with_body, with_wrong_labels

SNAPSHOT = Snapshot(
    {"model": [np.arange(6.0).reshape(2, 3), np.array(7, "int64")], "best": []},
    {"history": [{"epoch": 1, "loss": 0.1 + 0.2}], "best": float("inf"), "stopped": False},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def written(folder: Path, key: str = "one") -> Path:
    Checkpoint(folder, key, "run").write(SNAPSHOT)
    return folder / f"{key}.npz"


def test_what_was_written_is_read(folder: Path) -> None:
    written(folder)
    read = Checkpoint(folder, "one").read()
    assert read is not None
    assert read.state == {**SNAPSHOT.state, "run_id": "run"}
    assert list(read.arrays) == ["model", "best"]
    for array, expected in zip(read.arrays["model"], SNAPSHOT.arrays["model"], strict=True):
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    assert Checkpoint(folder, "one").read_run_id() == "run"
    assert [path.name for path in folder.iterdir()] == ["one.npz"]


def test_another_key_and_a_process_that_does_not_write_have_none(folder: Path) -> None:
    Checkpoint(folder, "one", "run", writes=False).write(SNAPSHOT)
    assert not folder.exists()
    written(folder)
    assert Checkpoint(folder, "two").read() is None
    assert Checkpoint(folder, "two").read_run_id() == ""


def test_the_order_of_more_than_ten_arrays_is_kept(folder: Path) -> None:
    many = [np.array(number) for number in range(25)]
    Checkpoint(folder, "one").write(Snapshot({"model": many}, {}))
    read = Checkpoint(folder, "one").read()
    assert read is not None
    assert [int(array) for array in read.arrays["model"]] == list(range(25))


@pytest.mark.parametrize(
    "damage", ["cut", "a byte", "empty", "no zip", "no state", "state 3", "state [1]", "one array"]
)
def test_a_damaged_one_is_reported_and_deleted(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = written(folder)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "a byte":
        place = content.index(np.arange(6.0).tobytes()) + 9
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    elif damage == "no state":
        np.savez(path, other=np.zeros(1))
    elif damage.startswith("state "):
        np.savez(path, state=damage.removeprefix("state "))
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(1))
    else:
        path.write_bytes(b"" if damage == "empty" else b"no zip at all")
    if damage != "a byte":
        assert Checkpoint(folder, "one").read_run_id() == ""
    assert Checkpoint(folder, "one").read() is None
    message = capsys.readouterr().err
    assert message.startswith(f"train: the checkpoint {path} is damaged (")
    assert message.count("\n") == 1
    assert not path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_leaves_the_last_one(folder: Path) -> None:
    path = written(folder)
    before = path.read_bytes()
    (folder / f"one.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        Checkpoint(folder, "one").write(SNAPSHOT)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["one.npz"]


def test_no_damage_is_taken_for_something_else(folder: Path) -> None:
    path = written(folder)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        Checkpoint(folder, "one").read_run_id()
        read = Checkpoint(folder, "one").read()  # some bytes stand for nothing
        assert read is None or np.array_equal(read.arrays["model"][0], np.arange(6.0).reshape(2, 3))
        assert path.exists() == (read is not None)


def test_one_that_cannot_be_read_is_named_and_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(folder)
    refusals = {"open": PermissionError(errno.EACCES, "Permission denied"), "load": MemoryError()}
    for name, error in refusals.items():

        def refuse(*_: Any, error: BaseException = error, **__: Any) -> Any:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Path if name == "open" else np, name, refuse)
            with pytest.raises(MalariaError, match="cannot be read") as caught:
                Checkpoint(folder, "one").read()
        assert str(path) in str(caught.value)
        assert "delete it" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert Checkpoint(folder, "one").read() is not None


def test_old_ones_of_other_trainings_are_deleted_aloud(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Checkpoint(folder, "one").prepare()  # makes the folder
    old, young, own = (written(folder, key) for key in ("old", "young", "own"))
    draft, other = folder / "killed.123.tmp", folder / "notes.txt"
    for path in (draft, other):
        path.touch()
    for path, days in ((old, KEPT_DAYS + 1), (draft, 99), (own, 99), (other, 99), (young, 29)):
        before = time.time() - days * 86_400
        os.utime(path, (before, before))
    Checkpoint(folder, "own").prepare()
    assert {path.name for path in folder.iterdir()} == {young.name, own.name, other.name}
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"train: the checkpoint {old} is deleted: no training resumed it for 31 days.",
        f"train: the checkpoint {draft} is deleted: no training resumed it for 99 days.",
    ]


def test_an_old_one_that_cannot_be_deleted_stops_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.npz").mkdir(parents=True)  # a folder is no file that could be unlinked
    os.utime(folder / "a.npz", (0, 0))
    Checkpoint(folder, "own").prepare()
    assert "a.npz is old and cannot be deleted (" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named_before_the_first_epoch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(MalariaError, match="Permission denied") as caught:
        Checkpoint(folder, "one").prepare()
    assert str(folder) in str(caught.value)
    monkeypatch.undo()
    folder.rmdir()
    folder.write_text("a file in its place")
    with pytest.raises(MalariaError, match="checkpoints cannot be written to"):
        Checkpoint(folder, "one").prepare()


def test_one_that_is_not_there_is_deleted_too(folder: Path) -> None:
    path = written(folder)
    for _ in range(2):
        Checkpoint(folder, "one").delete()
        assert not path.exists()


class Killed(Exception):
    """What stops a training in this test."""


@pytest.mark.usefixtures("body_of_two_groups")
@pytest.mark.parametrize(
    ("changes", "killed_in"),
    [
        ({"schedule": "one_cycle", "augment": Augmentation(rotation_range=30)}, 2),
        ({"schedule": "plateau", "optimizer": "rmsprop"}, 3),
        ({"schedule": "linear", "optimizer": "sgd", "body_learning_rate": 1e-3}, 5),
        ({"schedule": "constant", "averaging": 0.9}, 3),
    ],
    ids=["one_cycle", "plateau", "linear", "averaging"],
)
def test_a_killed_training_ends_as_if_it_had_never_stopped(
    tmp_path: Path, changes: dict[str, Any], killed_in: int
) -> None:
    staged = replace(PLAIN, epochs=4, head_epochs=2, optimizer="adam", learning_rate=0.01)
    recipe = replace(staged, patience=3, **changes)
    finished: set[str] = set()

    def run(name: str, kill: int | None = None) -> tuple[list[np.ndarray], Any, list[int]]:
        backend.prepare("auto", "float32", 5)
        model = with_body()
        passed: list[int] = []

        def on_epoch(row: Epoch) -> None:
            if row["epoch"] == kill:
                raise Killed  # before this epoch's checkpoint is written
            passed.append(int(row["epoch"]))

        assert Checkpoint(tmp_path, name).is_finished == (name in finished)
        outcome = train(
            model,
            with_wrong_labels(0.25),
            recipe,
            keep="best",
            seed=5,
            workspace=tmp_path,
            on_epoch=on_epoch,
            checkpoint=Checkpoint(tmp_path, name),
        )
        finished.add(name)
        return model.get_weights(), (outcome.history, outcome.kept), passed

    weights, whole, epochs = run("whole")
    if killed_in > len(epochs):
        pytest.skip("it stops earlier by itself")
    with pytest.raises(Killed):
        run("killed", kill=killed_in)
    # Once more after its last epoch, it computes nothing and is the same.
    for expected in (epochs[killed_in - 1 :], []):
        resumed, outcome, passed = run("killed")
        assert all_equal(weights, resumed)
        assert (outcome, passed) == (whole, expected)


def test_after_its_last_epoch_a_training_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = replace(basic_cnn.SYSTEM, frozen_until="low_conv2")
    monkeypatch.setattr(basic_cnn, "SYSTEM", frozen)
    checkpoint = Checkpoint(tmp_path, "one")
    found: list[tuple[list[np.ndarray], list[Epoch]]] = []
    for _ in range(2):
        backend.prepare("auto", "float32", 5)
        model = with_body()
        assert checkpoint.is_finished == bool(found)
        outcome = train(
            model,
            bright_and_dark(),
            PLAIN,
            keep="last",
            seed=5,
            workspace=tmp_path,
            on_epoch=lambda row: None,
            checkpoint=checkpoint,
        )
        found.append((model.get_weights(), outcome.history))
        monkeypatch.setattr(training, "_compute_features", None)  # a call would fail
    (first, history), (second, again) = found
    assert all_equal(first, second)
    assert history == again


def test_only_the_last_epoch_finishes_a_training(folder: Path) -> None:
    assert not Checkpoint(folder, "one").is_finished
    written(folder)
    assert not Checkpoint(folder, "one").is_finished
    Checkpoint(folder, "one").write(replace(SNAPSHOT, state={FINISHED: True}))
    assert Checkpoint(folder, "one").is_finished
