"""Entries of dvc.lock: read as DVC reads them, and named by a digest of what counts."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.pipeline.lock import Entry, entry_before, read_entries, with_outs
from malaria.pipeline.stages import read_stages
from tests.conftest import REPO
from tests.lock_repo import LockRepo

LOCK = REPO / "pilot/dvc.lock"


def test_the_pilots_entries_have_different_digests_and_give_their_text_back() -> None:
    entries = read_entries(LOCK.read_bytes(), "pilot", "pilot/dvc.lock")
    assert len({entry.digest for entry in entries.values()}) == len(entries) > 0
    locked = read_yaml(LOCK)["stages"]
    for name, entry in entries.items():
        assert YAML(typ="safe").load(entry.text()) == {name: locked[name]}


LOCKED: dict[str, Any] = {
    "cmd": "python x",
    "deps": [{"path": "../a.py", "md5": "1" * 32}, {"path": "d.csv", "md5": "2" * 32, "size": 3}],
    "params": {"params.yaml": {"train.epochs": 2, "fetch": {"url": "u", "none": None}}},
    "outs": [{"path": "m", "md5": "3" * 32}],
}


def changed(change: Callable[[dict[str, Any]], object]) -> Entry:
    locked = copy.deepcopy(LOCKED)
    change(locked)
    return Entry("demo", "train", locked)


@pytest.mark.parametrize(
    "change",
    [
        lambda locked: locked["deps"].reverse(),
        lambda locked: locked["deps"][1].update(size=9, hash="md5"),
        lambda locked: locked.update(cmd="python y"),
        lambda locked: locked.update(
            params={"params.yaml": dict(reversed(LOCKED["params"]["params.yaml"].items()))}
        ),
        lambda locked: locked["deps"][0].update(path="./../a.py"),
    ],
    ids=["order of deps", "sizes", "command", "order of params", "spelling of a path"],
)
def test_the_digest_does_not_see_what_changes_nothing(change: Callable[[Any], object]) -> None:
    assert changed(change).digest == Entry("demo", "train", LOCKED).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda locked: locked["deps"][0].update(md5="4" * 32),
        lambda locked: locked["deps"][0].update(path="../b.py"),
        lambda locked: locked["outs"][0].update(md5="4" * 32),
        lambda locked: locked["outs"].append({"path": "n", "md5": "5" * 32}),
        lambda locked: locked["params"]["params.yaml"].update({"train.epochs": 3}),
        lambda locked: locked["params"]["params.yaml"].update({"train.epochs": "2"}),
        lambda locked: locked["params"]["params.yaml"].pop("fetch"),
    ],
    ids=["dep", "dep's path", "out", "new out", "param", "param's type", "param gone"],
)
def test_the_digest_sees_what_went_in_and_out(change: Callable[[Any], object]) -> None:
    assert changed(change).digest != Entry("demo", "train", LOCKED).digest


def test_the_digest_tells_stage_and_folder_apart() -> None:
    entries = [Entry("demo", "train", LOCKED), Entry("pilot", "train", LOCKED)]
    entries.append(Entry("demo", "evaluate", LOCKED))
    assert len({entry.digest for entry in entries}) == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: [", "is not readable as YAML; bring it back from Git."),
        (b"[1]", "has the schema None, where DVC 3 writes '2.0'"),
        (b"schema: '1.0'\nstages: {}", "has the schema '1.0', where"),
        (b"schema: '2.0'\nstages: {a: 3}", "has an entry that is not of DVC's schema 2.0 (Attr"),
        (b"schema: '2.0'\nstages: [a]", "has an entry that is not of DVC's schema 2.0 (Attr"),
        (b"schema: '2.0'\nstages: {a: {outs: [{path: x}]}}", "2.0 (KeyError('md5'))"),
        (b"schema: '2.0'\nstages: {a: {deps: x}}", "2.0 (TypeError("),
        (b"schema: '2.0'\nstages: {a: {params: [x]}}", "2.0 (AttributeError("),
    ],
)
def test_another_content_is_one_sentence(content: bytes, told: str) -> None:
    with pytest.raises(MalariaError) as raised:
        read_entries(content, "demo", "demo/dvc.lock")
    assert re.match(r"demo/dvc\.lock (has|is) ", str(raised.value))
    assert told in str(raised.value)


def test_a_lock_without_stages_has_no_entry() -> None:
    assert read_entries(b"schema: '2.0'\nstages:\n", "demo", "x") == {}


def test_a_stage_that_runs_knows_what_its_entry_will_be(tmp_path: Path) -> None:
    repo = LockRepo(tmp_path / "repo")
    repo.run()
    entries = read_entries((repo.folder / "dvc.lock").read_bytes(), "demo", "x")
    stages = read_stages(repo.folder, read_yaml(repo.folder / "params.yaml"))
    for name, entry in entries.items():
        deps = {dep.path: dep.md5 for dep in entry.deps}
        before = Entry("demo", name, entry_before(stages[name], entry.params, deps, repo.folder))
        after = with_outs(before, stages[name], repo.folder)
        assert after.digest == entry.digest
        assert sorted(map(repr, after.deps)) == sorted(map(repr, entry.deps))
