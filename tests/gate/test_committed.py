"""Files of a revision: regular ones of a usual size, and params without hidden keys."""

import subprocess
from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.gate.committed import params_at, read_regular, results_at
from malaria.gate.predictions import Files
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from tests.git_repo import git

FILE = f"pilot/{PREDICTIONS}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "pilot/reports").mkdir(parents=True)
    (tmp_path / FILE).write_bytes(b"cells\n")
    return tmp_path


def commit(root: Path) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "results")
    return git(root, "rev-parse", "HEAD")


def told(root: Path, *arguments: str, stdin: str) -> str:
    """Return what a Git command answers to its input."""
    command = ["git", *arguments]
    ran = subprocess.run(command, cwd=root, input=stdin, text=True, check=True, capture_output=True)
    return ran.stdout.strip()


def tree(root: Path, *entries: str) -> str:
    """Write a tree of Git that need not be a sound one."""
    return told(root, "mktree", stdin="\n".join(entries) + "\n")


def test_results_are_those_of_the_revision_or_of_the_work_tree(root: Path) -> None:
    assert results_at(root, None, "pilot") == Files(b"cells\n", b"")
    first = commit(root)
    (root / FILE).write_bytes(b"others\n")
    (root / "pilot" / METRICS).write_bytes(b"{}")
    assert results_at(root, first, "pilot") == Files(b"cells\n", b"")
    assert results_at(root, None, "pilot") == Files(b"others\n", b"{}")
    assert results_at(root, first, "demo") is None
    assert results_at(root, None, "demo") is None


def test_symbolic_links_are_refused_wherever_they_lead(root: Path) -> None:
    (root / "elsewhere").mkdir()
    (root / "elsewhere/predictions.csv").write_bytes((root / FILE).read_bytes())
    (root / FILE).unlink()
    (root / FILE).symlink_to("../../elsewhere/predictions.csv")
    said = rf"^{FILE} at .* is a symbolic link.*; commit a regular file\.$"
    for revision in (None, commit(root)):
        with pytest.raises(MalariaError, match=said):
            results_at(root, revision, "pilot")
    (root / FILE).unlink()
    (root / "pilot/reports").rmdir()
    (root / "pilot/reports").symlink_to("../elsewhere")
    with pytest.raises(MalariaError, match=said):
        results_at(root, None, "pilot")
    assert results_at(root, commit(root), "pilot") is None  # to Git there is no such file


def test_what_is_no_file_or_too_large_is_refused(root: Path) -> None:
    (root / FILE).write_bytes(b"x" * 10_000_001)
    for revision in (None, commit(root)):
        with pytest.raises(MalariaError, match=r"has 10\.0 MB, more than the 10 MB that the gate"):
            results_at(root, revision, "pilot")
    (root / FILE).unlink()
    (root / FILE).mkdir()
    (root / FILE / "file").touch()
    for revision in (None, commit(root)):
        with pytest.raises(MalariaError, match="is no file; commit a regular file"):
            results_at(root, revision, "pilot")


def test_a_file_that_is_there_twice_is_refused(root: Path) -> None:
    one, two = (told(root, "hash-object", "-w", "--stdin", stdin=text) for text in ("a", "b"))
    both = (f"100644 blob {blob}\tpredictions.csv" for blob in (one, two))
    reports = tree(root, *both)
    single = tree(root, f"100644 blob {one}\tpredictions.csv")
    for pilot in (
        tree(root, f"040000 tree {reports}\treports"),
        tree(root, f"040000 tree {single}\treports", f"040000 tree {single}\treports"),
    ):
        top = tree(root, f"040000 tree {pilot}\tpilot")
        revision = git(root, "commit-tree", "-m", "twice", top)
        with pytest.raises(MalariaError, match="is there more than once"):
            read_regular(root, revision, FILE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"gate.level: 0.5\n", "has the key 'gate.level'; write names without dots"),
        (b"gate: {metrics.roc_auc: {}}\n", "has the key 'metrics.roc_auc'"),
        (b"train: [{a.b: 1}]\n", "has the key 'a.b'"),
        (b"1: 2\n", "has the key '1'"),
        (b"a: &a [*a]\n", "is not readable as YAML"),
        (
            b"a: &a [1,1,1,1,1,1,1,1]\n"
            + b"".join(
                b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 8))
                for name in b"bcdefghij"
            ),
            "has more than 10,000 values",
        ),
        (
            b"a: " + b"{a: " * 10_000 + b"1" + b"}" * 10_000,
            "is not readable as YAML",
        ),
        (b"gate: 1\ngate: 2\n", "is not readable as YAML"),
        (b"\xff\xfe\xff", "is not readable as YAML"),
        (b"[1]", "is not a mapping in YAML; correct it"),
        (b"a: 1\n" * 2_000_001, "has 10.0 MB"),
    ],
)
def test_params_that_hide_or_break_something_are_one_sentence(
    root: Path, content: bytes, said: str
) -> None:
    (root / "pilot" / PARAMS).write_bytes(content)
    for revision in (None, commit(root)):
        with pytest.raises(MalariaError, match=said) as caught:
            params_at(root, revision, "pilot")
        assert "\n" not in str(caught.value)


def test_params_are_read_as_dvc_reads_them(root: Path) -> None:
    assert params_at(root, None, "pilot") == {}
    (root / "pilot" / PARAMS).write_text("gate: {level: 1e-1}\n")
    assert params_at(root, None, "pilot") == {"gate": {"level": 0.1}}
    assert params_at(root, commit(root), "pilot") == {"gate": {"level": 0.1}}
