"""Other revisions: where a branch began, files there, how often a test set was used."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.gate.predictions import digest_of_test_set, uses_of_test_set
from malaria.paths import PREDICTIONS
from malaria.pipeline.git import (
    ParamChange,
    commits_of,
    find_file,
    merge_base,
    params_diff,
    predicted_folders,
    reference,
)
from malaria.prediction.table import PREDICTION_COLUMNS, read_predictions
from tests.git_repo import git

FILE = f"pilot/{PREDICTIONS}"


def commit(root: Path, file: str, content: str) -> str:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", f"write {file}")
    return git(root, "rev-parse", "HEAD")


def predictions(logit: float, tested: Sequence[str] = ("c", "d")) -> str:
    rows = [["a", "C1", "val", "1", "0.5", "0.6"]]
    rows += [[cell, "C2", "test", "0", f"{logit}", "0.5"] for cell in tested]
    return "\n".join(",".join(row) for row in [PREDICTION_COLUMNS, *rows]) + "\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    commit(path, "pilot/params.yaml", "train: {epochs: 6, seed: null}\nold: 1\n")
    return path


def digest(root: Path) -> str:
    return digest_of_test_set(read_predictions(root / FILE))


def test_a_branch_began_where_it_left_the_other(root: Path) -> None:
    began = git(root, "rev-parse", "HEAD")
    git(root, "checkout", "-q", "-b", "change")
    commit(root, "a", "ours")
    git(root, "checkout", "-q", "main")
    commit(root, "b", "theirs")
    git(root, "checkout", "-q", "change")
    assert merge_base(root, "main") == began


@pytest.mark.parametrize("name", ["origin/main", "--all", "HEAD:pilot"])
def test_a_ref_that_is_not_there_is_named_with_how_to_fetch_it(root: Path, name: str) -> None:
    with pytest.raises(MalariaError, match=f"no commit is called '{name}' here; fetch it"):
        merge_base(root, name)


def test_histories_without_a_common_commit_are_told(root: Path) -> None:
    git(root, "checkout", "-q", "--orphan", "other")
    commit(root, "a", "another beginning")
    with pytest.raises(MalariaError, match="HEAD and 'main' have no commit in common"):
        merge_base(root, "main")


def test_a_shallow_clone_is_told_how_to_get_the_rest(root: Path, tmp_path: Path) -> None:
    commit(root, "a", "second")
    git(tmp_path, "clone", "-q", "--depth=1", root.as_uri(), "shallow")
    with pytest.raises(MalariaError, match=r"git fetch --unshallow`.*`fetch-depth: 0`"):
        merge_base(tmp_path / "shallow", "HEAD")
    git(tmp_path / "shallow", "fetch", "-q", "--unshallow")
    assert merge_base(tmp_path / "shallow", "HEAD") == git(root, "rev-parse", "HEAD")


def test_a_folder_without_git_is_told(tmp_path: Path) -> None:
    with pytest.raises(MalariaError, match="is in no Git repository that can be read"):
        merge_base(tmp_path, "main")


def test_files_are_read_as_they_were(root: Path) -> None:
    first = git(root, "rev-parse", "HEAD")
    commit(root, "pilot/params.yaml", "new: 1\n")
    assert find_file(root, first, "./pilot/params.yaml") == (
        b"train: {epochs: 6, seed: null}\nold: 1\n"
    )
    assert find_file(root, first, "pilot/none.yaml") is None
    assert find_file(root, first, "pilot") is None  # a folder is no file


def test_predictions_count_when_they_are_in_git_and_still_there(root: Path) -> None:
    for folder in (".", "demo", "pilot"):
        commit(root, f"{folder}/{PREDICTIONS}", predictions(1))
    assert predicted_folders(root) == [".", "pilot", "demo"]
    (root / FILE).unlink()
    git(root, "rm", "-q", "--cached", f"demo/{PREDICTIONS}")
    assert predicted_folders(root) == ["."]


def test_uses_are_the_different_results_on_the_same_test_cells(root: Path) -> None:
    commit(root, FILE, predictions(1))
    commit(root, FILE, predictions(2))
    commit(root, FILE, predictions(1))  # reverted: seen before
    commit(root, FILE, predictions(3, tested=("d", "c")))  # the order is no matter
    assert uses_of_test_set(root, "main", "pilot", digest(root)) == 3
    commit(root, FILE, "other,columns\n1,2\n")
    commit(root, FILE, predictions(1, tested=("c", "e")))
    assert uses_of_test_set(root, "main", "pilot", digest(root)) == 1
    assert uses_of_test_set(root, "main", "demo", digest(root)) == 0


def test_a_merged_branch_is_one_commit(root: Path) -> None:
    commit(root, FILE, predictions(1))
    git(root, "checkout", "-q", "-b", "change")
    commit(root, FILE, predictions(2))
    commit(root, FILE, predictions(3))
    git(root, "checkout", "-q", "main")
    commit(root, "a", "meanwhile")
    git(root, "merge", "-q", "--no-ff", "-m", "merge change", "change")
    assert [item.subject for item in commits_of(root, "main", FILE)] == [
        "merge change",
        f"write {FILE}",
    ]
    assert uses_of_test_set(root, "main", "pilot", digest(root)) == 2


def test_params_that_differ_are_told_by_their_keys(root: Path) -> None:
    first = git(root, "rev-parse", "HEAD")
    commit(root, "pilot/params.yaml", "train: {epochs: 7, seed: null}\nnew: {list: [1, x]}\n")
    expected = [
        ParamChange("new.list", None, '[1, "x"]'),
        ParamChange("old", "1", None),
        ParamChange("train.epochs", "6", "7"),
    ]
    assert params_diff(root, "pilot", first, "HEAD") == expected
    (root / "pilot/params.yaml").write_text("train: {epochs: 6, seed: 1}\nold: 1\n")
    assert params_diff(root, "pilot", first) == [ParamChange("train.seed", "null", "1")]
    assert params_diff(root, "demo", first) == []


def test_params_that_are_no_yaml_are_told(root: Path) -> None:
    (root / "pilot/params.yaml").write_text("a: [\n")
    with pytest.raises(MalariaError, match=r"pilot/params\.yaml at the work tree is not a mapping"):
        params_diff(root, "pilot", "HEAD")


def test_the_reference_is_the_tags_commit(root: Path) -> None:
    assert reference(root) is None
    git(root, "tag", "-a", "-m", "held against", "gate-reference")
    assert reference(root) == git(root, "rev-parse", "HEAD")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_checkout_of_another_owner_has_gits_own_remedy(root: Path) -> None:
    os.chown(root, 65534, 65534)
    os.chown(root / ".git", 65534, 65534)
    with pytest.raises(MalariaError) as told:
        commits_of(root, "HEAD", FILE)
    assert str(told.value) == (
        f"{root} belongs to another user, so Git does not read it; if you trust its content, run "
        f"`git config --global --add safe.directory {root}`."
    )


@pytest.mark.parametrize("found", ["nothing", "what cannot be run"])
def test_without_git_it_is_one_sentence(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    if found != "nothing":
        (tmp_path / "git").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MalariaError, match=r"^Git is not installed; install it, or put it on PATH"):
        commits_of(root, "HEAD", FILE)
