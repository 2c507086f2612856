"""Experiments in Git: which there are, what is copied, what is missing or of another run."""

import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from malaria.errors import MalariaError
from malaria.gate.metrics_check import metrics_faults
from malaria.paths import EXTERNAL, HISTORY, METRICS, PREDICTIONS, TABLES, TRAINED
from malaria.studies.experiments import collect, kept_faults
from tests.gate.test_metrics_check import edit, write_reports
from tests.git_repo import git, keep_as_experiment
from tests.lock_repo import PARAMS, LockRepo, Stages, write_yaml

FOLDER = "pilot"
KEPT = {
    "params.yaml",
    "dvc.lock",
    "metrics.json",
    "predictions.csv",
    "external.csv",
    "history.csv",
    "train.json",
    "tables/intervals.csv",
    "tables/groups.csv",
}


class Trained(LockRepo):
    """A pipeline whose numbers follow from its predictions; it can run on to a report."""

    stages: ClassVar[Stages] = {
        "train": (["train.model", "train.epochs"], [], ["models/model.keras"], [HISTORY, TRAINED]),
        "evaluate": (
            ["evaluate.threshold"],
            ["models/model.keras"],
            [],
            [METRICS, PREDICTIONS, EXTERNAL, TABLES],
        ),
        "report": (["train.epochs"], [METRICS], [], ["reports/report.html"]),
    }

    def set_params(self, **changes: dict[str, Any]) -> None:
        values = PARAMS | {"evaluate": {"threshold": "youden"}}
        values = {name: section | changes.get(name, {}) for name, section in values.items()}
        write_yaml(self.folder / "params.yaml", values)

    def write_output(self, path: Path, params: dict[str, Any]) -> None:
        if path.name == "metrics.json":
            write_reports(self.folder)  # the predictions, too
        elif path.name == "tables":
            path.mkdir(exist_ok=True)
            for name in ("intervals", "groups"):
                (path / f"{name}.csv").write_text(f"{name}, {params['train']['epochs']}\n")
        elif path.name not in ("predictions.csv", "external.csv"):
            super().write_output(path, params)


def add_experiment(repo: Trained, name: str, epochs: int = 2, **where: Any) -> None:
    """Run up to evaluate and keep it as DVC does."""
    repo.set_params(train={"epochs": epochs})
    repo.run("train", "evaluate")
    keep_as_experiment(repo.root, name, **where)


@pytest.fixture
def repo(tmp_path: Path) -> Trained:
    repo = Trained(tmp_path / "repo", FOLDER)
    for epochs, name in enumerate(("cnn_se", "resnet18"), start=3):
        add_experiment(repo, name, epochs)
    git(repo.root, "update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")  # DVC's own
    return repo


def kept(repo: Trained, name: str) -> Path:
    return repo.folder / "experiments" / name


def names_below(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("folder", [".", "pilot"])
def test_all_experiments_are_copied_with_what_their_numbers_follow_from(
    tmp_path: Path, folder: str
) -> None:
    repo = Trained(tmp_path / "repo", folder)
    for epochs, name in enumerate(("cnn_se", "resnet18"), start=3):
        add_experiment(repo, name, epochs)
    written = collect(repo.root, folder, [])
    assert written == [repo.root / folder / "experiments" / n for n in ("cnn_se", "resnet18")]
    for epochs, target in enumerate(written, start=3):
        assert names_below(target) == KEPT
        assert (target / "tables/intervals.csv").read_text() == f"intervals, {epochs}\n"
        assert len((target / "history.csv").read_text().splitlines()) == 1 + epochs
        (target / "reports").symlink_to(".")
        assert not list(metrics_faults(target, "m.json", "youden"))
        (target / "reports").unlink()
    assert not list(kept_faults(repo.root, folder))


def test_a_named_experiment_is_copied_over_an_older_one(repo: Trained) -> None:
    old = kept(repo, "resnet18")
    (old / "tables").mkdir(parents=True)
    for name in ("metrics.json", "tables/removed.csv"):
        (old / name).write_text("old")
    assert collect(repo.root, FOLDER, ["resnet18"]) == [old]
    assert names_below(old) == KEPT
    assert not kept(repo, "cnn_se").exists()


@pytest.mark.parametrize(("newer", "older"), [("a", "b"), ("b", "a")])
def test_of_two_experiments_of_one_name_the_newer_is_copied(
    repo: Trained, newer: str, older: str
) -> None:
    add_experiment(repo, "cnn_base", 7, baseline=newer, at=60)
    add_experiment(repo, "cnn_base", 8, baseline=older, at=30)
    (folder,) = collect(repo.root, FOLDER, ["cnn_base"])
    assert (folder / "tables/groups.csv").read_text() == "groups, 7\n"


def test_an_experiment_that_did_not_run_to_its_end_is_refused(repo: Trained) -> None:
    repo.run()  # the baseline has results
    repo.commit("results")
    repo.set_params(train={"epochs": 9})
    keep_as_experiment(repo.root, "queued")  # nothing ran
    repo.set_params(train={"epochs": 9})
    repo.run("train")
    keep_as_experiment(repo.root, "trained")
    repo.set_params(train={"epochs": 9})
    repo.run("train", "evaluate")
    edit(repo.folder / METRICS, "0.75", "0.95")
    keep_as_experiment(repo.root, "edited")
    for name, reason in {
        "queued": "train did not run with its params and code",
        "trained": "evaluate read what another run left",
        "edited": "reports/metrics.json is not what its dvc.lock records",
    }.items():
        with pytest.raises(MalariaError, match=rf"{name} has not run to evaluate \({reason}\); ru"):
            collect(repo.root, FOLDER, ["cnn_se", name])
    assert not (repo.folder / "experiments").exists()
    shutil.rmtree(repo.folder / "reports")
    (repo.folder / "dvc.lock").unlink()
    repo.run("train")
    keep_as_experiment(repo.root, "first")
    with pytest.raises(MalariaError, match=r"\(its dvc\.lock records no run of evaluate\)"):
        collect(repo.root, FOLDER, ["first"])


def test_a_later_stage_of_the_baseline_does_not_matter(repo: Trained) -> None:
    repo.run()
    repo.commit("results, with a report")
    add_experiment(repo, "longer", 9)  # up to evaluate, as `malaria repeat` runs
    collect(repo.root, FOLDER, ["longer"])
    assert not list(kept_faults(repo.root, FOLDER))


def test_what_is_edited_after_it_was_kept_is_named(repo: Trained) -> None:
    collect(repo.root, FOLDER, [])
    folder = kept(repo, "cnn_se")
    edit(folder / "params.yaml", "epochs: 3", "epochs: 30")
    edit(folder / "tables/intervals.csv", "3", "4")
    edit(folder / "metrics.json", "0.75", "0.95")
    (folder / "history.csv").unlink()
    shown = "pilot/experiments/cnn_se"
    assert list(kept_faults(repo.root, FOLDER)) == [
        f"train.epochs in {shown}/params.yaml is not what its dvc.lock says it ran with",
        f"{shown}/metrics.json is not what {shown}/dvc.lock records",
        f"{shown}/history.csv is missing",
        f"{shown}/tables is not what {shown}/dvc.lock records",
        f"test.roc_auc in {shown}/metrics.json is 0.95, but reports/predictions.csv gives 0.75 at "
        "the file's threshold",
    ]
    (folder / "dvc.lock").unlink()
    missing = f"{shown}/dvc.lock is missing, so nothing says what {shown} is of"
    assert list(kept_faults(repo.root, FOLDER)) == [missing]
    for name in ("predictions.csv", "external.csv"):
        (folder / name).unlink()
    assert list(kept_faults(repo.root, FOLDER)) == [missing]
    shutil.rmtree(folder / "tables")  # as the oldest ones, which were kept without
    assert not list(kept_faults(repo.root, FOLDER))


def test_a_name_that_no_experiment_has_is_named_with_those_that_are(repo: Trained) -> None:
    with pytest.raises(MalariaError, match=r"called 'vgg' \(there are: cnn_se, resnet18\)"):
        collect(repo.root, FOLDER, ["cnn_se", "vgg"])
    assert not (repo.folder / "experiments").exists()


def test_an_experiment_of_another_folder_is_named_with_what_it_lacks(repo: Trained) -> None:
    with pytest.raises(MalariaError, match=r"has no demo/params\.yaml; was it run in another"):
        collect(repo.root, "demo", ["cnn_se"])
    assert not (repo.root / "demo").exists()


def test_a_folder_without_git_is_named_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MalariaError, match="git for-each-ref failed"):
        collect(tmp_path, "pilot", [])
