"""Experiments in Git: which there are, what is copied, what is missing."""

from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.studies.experiments import COPIED, collect
from tests.git_repo import git, keep_as_experiment, start_repository


def add_experiment(root: Path, name: str, text: str = "", baseline: str = "a", at: int = 0) -> None:
    """Commit files that contain the experiment's name, and keep them as DVC does."""
    for file in COPIED:
        path = root / "pilot" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{file} of {text or name}\n")
    keep_as_experiment(root, name, baseline, at)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    start_repository(tmp_path)
    for name in ("cnn_se", "resnet18"):
        add_experiment(tmp_path, name)
    git(tmp_path, "update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")  # DVC's own
    return tmp_path


def test_all_experiments_are_copied(root: Path) -> None:
    written = collect(root, "pilot", [])
    assert written == [root / "pilot/experiments" / name for name in ("cnn_se", "resnet18")]
    for folder in written:
        contents = {file.name: file.read_text() for file in folder.iterdir()}
        assert contents == {Path(path).name: f"{path} of {folder.name}\n" for path in COPIED}


def test_a_named_experiment_is_copied_over_an_older_one(root: Path) -> None:
    old = root / "pilot/experiments/resnet18/metrics.json"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    assert collect(root, "pilot", ["resnet18"]) == [old.parent]
    assert old.read_text() == "reports/metrics.json of resnet18\n"
    assert not (root / "pilot/experiments/cnn_se").exists()


@pytest.mark.parametrize(("newer", "older"), [("a", "b"), ("b", "a")])
def test_of_two_experiments_of_one_name_the_newer_is_copied(
    root: Path, newer: str, older: str
) -> None:
    add_experiment(root, "cnn_base", "the newer", baseline=newer, at=60)
    add_experiment(root, "cnn_base", "the older", baseline=older, at=30)
    (folder,) = collect(root, "pilot", ["cnn_base"])
    assert (folder / "train.json").read_text() == "reports/train.json of the newer\n"


def test_a_name_that_no_experiment_has_is_named_with_those_that_are(root: Path) -> None:
    with pytest.raises(MalariaError, match=r"called 'vgg' \(there are: cnn_se, resnet18\)"):
        collect(root, "pilot", ["cnn_se", "vgg"])
    assert not (root / "pilot").exists()


def test_an_experiment_of_another_folder_is_named_with_what_it_lacks(root: Path) -> None:
    with pytest.raises(MalariaError, match=r"has no demo/params\.yaml; was it run in another"):
        collect(root, "demo", ["cnn_se"])
    assert not (root / "demo").exists()


def test_a_folder_without_git_is_named_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MalariaError, match="git for-each-ref failed"):
        collect(tmp_path, "pilot", [])
