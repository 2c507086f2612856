"""Checkpoints: whole or not at all, told when damaged, never another training's."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from malaria.checkpoint import Checkpoint, Saved

SAVED = Saved(
    {"model": [np.arange(6.0).reshape(2, 3), np.array(7, "int64")], "best": []},
    {"history": [{"epoch": 1, "loss": 0.1 + 0.2}], "best": float("inf"), "stopped": False},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def written(folder: Path, key: str = "one") -> Path:
    Checkpoint(folder, key, "run").write(SAVED)
    return folder / f"{key}.npz"


def test_what_was_written_is_read(folder: Path) -> None:
    written(folder)
    read = Checkpoint(folder, "one").read()
    assert read is not None
    assert read.state == {**SAVED.state, "run_id": "run"}
    assert list(read.arrays) == ["model"]
    for array, expected in zip(read.arrays["model"], SAVED.arrays["model"], strict=True):
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    assert Checkpoint(folder, "one").read_run_id() == "run"
    assert [path.name for path in folder.iterdir()] == ["one.npz"]


def test_another_key_has_none(folder: Path) -> None:
    written(folder)
    assert Checkpoint(folder, "two").read() is None
    assert Checkpoint(folder, "two").read_run_id() == ""


def test_the_order_of_more_than_ten_arrays_is_kept(folder: Path) -> None:
    many = [np.array(number) for number in range(25)]
    Checkpoint(folder, "one").write(Saved({"model": many}, {}))
    read = Checkpoint(folder, "one").read()
    assert read is not None
    assert [int(array) for array in read.arrays["model"]] == list(range(25))


@pytest.mark.parametrize("damage", ["cut", "a byte", "empty", "no zip", "no state"])
def test_a_damaged_one_is_told_deleted_and_passed_over(
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
        Checkpoint(folder, "one").write(SAVED)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["one.npz"]


def test_old_ones_of_other_trainings_are_deleted(folder: Path) -> None:
    Checkpoint(folder, "one").delete_old_ones()  # no folder yet
    old, young, own = (written(folder, key) for key in ("old", "young", "own"))
    draft = folder / "killed.123.tmp"
    draft.touch()
    week_ago = time.time() - 8 * 86_400
    for path in (old, own, draft):
        os.utime(path, (week_ago, week_ago))
    Checkpoint(folder, "own").delete_old_ones()
    assert {path.name for path in folder.iterdir()} == {young.name, own.name}


def test_it_is_deleted_where_it_is_and_where_it_is_not(folder: Path) -> None:
    path = written(folder)
    for _ in range(2):
        Checkpoint(folder, "one").delete()
        assert not path.exists()
