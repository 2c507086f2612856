"""What `malaria doctor` finds on machines, remotes and folders that are broken in known ways."""

import json
import re
import shutil
import sys
from collections import namedtuple
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from typer.testing import CliRunner

from malaria.cli.main import app
from malaria.doctor import checks
from malaria.doctor.finding import Finding, ask
from malaria.pipeline.facts import CHECKPOINTS
from malaria.tracking.server import HERE, find_port
from tests.conftest import REPO
from tests.gate.locked import dvc
from tests.git_repo import git

Usage = namedtuple("Usage", "total used free")


def program(path: Path, script: str) -> None:
    """Write a program that the machine seems to have."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_packages_that_fit_and_a_machine_without_uv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = checks.check_python(tmp_path)
    assert (finding.level, "but uv is not installed" in finding.found) == ("warn", True)
    for code, level in ((0, "ok"), (1, "fail")):
        program(tmp_path / "uv", f"echo 'keras wants another numpy' >&2; exit {code}")
        (finding,) = checks.check_python(tmp_path)
        assert (finding.level, "keras wants" in finding.found) == (level, code == 1)


LONG = "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''"


@pytest.mark.parametrize("first", ["#!{}", LONG])
def test_an_environment_that_was_moved_or_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    old, new = tmp_path / "old folder/.venv/bin", tmp_path / "new/.venv/bin"
    old.mkdir(parents=True)
    program(old / "python3", "")
    (old / "dvc").write_text(first.format(old / "python3") + "\nimport sys\n")
    monkeypatch.setattr(sys, "prefix", str(old.parent))
    assert not list(checks.check_environment(tmp_path))
    shutil.copytree(old, new)
    monkeypatch.setattr(sys, "prefix", str(new.parent))
    (finding,) = checks.check_environment(tmp_path)
    assert (finding.level, finding.found) == (
        "fail",
        f"{new}/dvc starts {old}/python3, of another environment",
    )
    shutil.rmtree(old)
    (finding,) = checks.check_environment(tmp_path)
    assert finding.found.endswith(f"{old}/python3, which is not there")
    assert finding.remedy.endswith(f"delete {new.parent} and run `uv sync` again")


def test_a_shallow_clone_and_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    git(whole, "init", "-q")
    for name in ("one", "two"):
        git(whole, "commit", "-q", "--allow-empty", "-m", name)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{whole}", str(cut))
    monkeypatch.setattr(checks, "CHECKS", {"Git": checks.check_git})
    (found,) = checks.examine(whole)
    assert str(found) == "ok   Git: the whole history is here"
    for root, remedy in ((cut, "git fetch --unshallow"), (tmp_path, "work in a clone")):
        (found,) = checks.examine(root)
        assert (found.level, remedy in found.found) == ("fail", True)


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pilot").mkdir()
    (tmp_path / "pilot/dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  all:\n    outs:\n    - {path: a, md5: b, size: 3000000}\n"
    )
    seen: list[Finding] = []
    for free in (2e6, 4e6, 7e6):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: Usage(9e9, 0, free))
        seen += checks.check_disk(tmp_path)
    assert [finding.level for finding in seen] == ["fail", "warn", "ok"]
    assert seen[0].found.startswith("2.00MB are free; another run of pilot takes 3.00MB")
    assert "`uv run dvc gc --workspace --projects pilot demo`" in seen[0].remedy


def test_a_pinned_file_that_is_nowhere_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (".", "pilot", "demo"):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(REPO / folder / "params.yaml", tmp_path / folder)
    params = tmp_path / "pilot/params.yaml"
    text = params.read_text().replace("weights: vgg16", f"weights: arrays:{'0' * 64}")
    params.write_text(re.sub("url: http.*", "url: mine.zip", text))
    shutil.copy(REPO / "pilot/patients.txt", tmp_path / "pilot")
    monkeypatch.delenv("MALARIA_MIRROR", raising=False)
    zip_file, weights = checks.check_pinned(tmp_path)
    assert weights.found.startswith("pilot: train.weights: no file in $MALARIA_MIRROR has the arr")
    said = "pilot needs a copy of the cells, and fetch.url 'mine.zip' is not there"
    assert zip_file.found == said
    (tmp_path / "pilot/mine.zip").write_bytes(b"")
    assert [found.found for found in checks.check_pinned(tmp_path)] == [weights.found]


def test_what_killed_processes_left_is_named(tmp_path: Path) -> None:
    assert not list(checks.check_leftovers(tmp_path))
    for name in (f"{CHECKPOINTS}/a.npz", "pilot/data/raw/cell_images.zip.part"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("half")
    checkpoint, part = checks.check_leftovers(tmp_path)
    assert (checkpoint.level, part.level) == ("ok", "warn")
    assert part.found.startswith(f"4.00B in {tmp_path}/pilot/data/raw/cell_images.zip.part")


def test_a_lock_file_that_a_full_disk_cut_off_is_named(tmp_path: Path) -> None:
    file = tmp_path / "demo/.dvc/tmp/rwlock"
    file.parent.mkdir(parents=True)
    assert not list(checks.check_locks(tmp_path))
    for content in ("", '{"wri', "[]"):
        file.write_text(content)
        (found,) = checks.check_locks(tmp_path)
        assert found.level == "fail"
        assert f"`rm {file}`" in found.remedy
    file.write_text('{"write": {}, "read": {}}')
    assert not list(checks.check_locks(tmp_path))


@pytest.mark.slow  # DVC takes seconds to start
def test_dvc_works_again_without_that_file(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    dvc(tmp_path, "init", "-q")
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: echo > a, outs: [a]}}\n")
    dvc(tmp_path, "status")
    file = tmp_path / checks.RWLOCK
    assert file.exists()
    file.write_text("")
    broken = ask([*checks.DVC, "status"], tmp_path)
    assert "JSON structure is corrupted" in broken.stderr
    file.unlink()
    assert ask([*checks.DVC, "status"], tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("possible", "wanted", "finding"),
    [
        ("<https://dvc.org/no-dvc-cache>", "hardlink", "no cache yet; the first stage makes it"),
        ("hardlink", "reflink,copy", "cache.type copy: data takes its space twice, in the cache"),
        ("reflink, symlink", "reflink,copy", "cache.type reflink: data takes its space once"),
        (
            "hardlink",
            "reflink",
            "this disk has no cache.type reflink; run `uv run dvc --cd pilot",
        ),
    ],
)
def test_how_files_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, possible: str, wanted: str, finding: str
) -> None:
    def ask(command: Sequence[str], *_: object) -> "CompletedProcess[str]":
        return CompletedProcess(command, 0, said[command[4]], "")

    said = {"doctor": f"Cache types: {possible}\n", "config": f"cache.type={wanted}\n"}
    monkeypatch.setattr(checks, "ask", ask)
    (found,) = checks.check_dvc(tmp_path, "pilot")
    assert finding in str(found)
    assert found.level == ("fail" if "run" in found.remedy else "ok")


@pytest.mark.slow  # DVC takes seconds to start
def test_a_cache_that_is_shared_and_remotes_that_do_not_answer(tmp_path: Path) -> None:
    (found,) = checks.check_dvc(tmp_path, ".")
    assert (found.level, "finds no repository" in found.found) == ("fail", True)
    git(tmp_path, "init", "-q")
    dvc(tmp_path, "init", "-q")
    (tmp_path / "pilot").mkdir()
    dvc(tmp_path / "pilot", "init", "-q", "--subdir")
    shutil.copy(REPO / "pilot/.dvc/config", tmp_path / "pilot/.dvc")
    (found,) = checks.check_dvc(tmp_path, "pilot")
    assert "no cache yet" in found.found
    (tmp_path / ".dvc/cache/files/md5").mkdir(parents=True)
    address = f"http://ada:secret@{HERE}:{find_port(HERE, [0])}"
    for name, url in (("disk", tmp_path), ("unmounted", tmp_path / "no"), ("away", address)):
        dvc(tmp_path / "pilot", "remote", "add", name, str(url))
    links, unmounted, away = checks.check_dvc(tmp_path, "pilot")
    assert (links.level, "data takes its space" in links.found) == ("ok", True)
    assert "the remote unmounted does not answer" in unmounted.found
    assert "the remote away does not answer" in away.found
    assert "secret" not in str(away)


def test_the_device_and_a_backend_that_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(checks, "ASK_KERAS", "print('noise'); print('jax', 'cpu')")
    (finding,) = checks.check_device(tmp_path)
    assert (finding.level, finding.found) == ("ok", "Keras' jax backend trains on the cpu")
    program(tmp_path / "nvidia-smi", "echo 'GPU 0: H100'")
    (finding,) = checks.check_device(tmp_path)
    assert (finding.level, finding.found) == ("warn", "Keras' jax backend does not see GPU 0: H100")
    assert "`uv sync --extra jax`" in finding.remedy
    monkeypatch.setattr(checks, "ASK_KERAS", "raise ValueError('no such backend')")
    (finding,) = checks.check_device(tmp_path)
    assert (finding.level, "ValueError: no such backend)" in finding.found) == ("fail", True)


@pytest.mark.slow  # starts Keras
def test_keras_says_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    finding, *_ = checks.check_device(REPO)
    assert "Keras' tensorflow backend" in finding.found


def test_a_check_that_breaks_is_a_finding_and_the_exit_code_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(root: Path) -> Iterator[Finding]:
        yield Finding("ok", "is fine")
        raise OSError("the disk\nis gone")

    monkeypatch.setattr("malaria.cli.root.ROOT", tmp_path)
    monkeypatch.setattr(checks, "CHECKS", {"broken": broken})
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert result.stdout == (
        "ok   broken: is fine\nfail broken: cannot be checked (the disk is gone); fix that first\n"
    )
    monkeypatch.setattr(checks, "CHECKS", {"left": checks.check_leftovers})
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [
        {"level": "ok", "found": "no problem", "remedy": "", "check": "left"}
    ]
