"""What a stage may log while it runs."""

import os
from typing import Any, cast

import pytest

from malaria.core.yaml_files import read_yaml
from malaria.pipeline.facts import StageFacts, read_facts
from malaria.tracking.content import LIVE_ONLY
from malaria.tracking.live import StageRun
from tests.lock_repo import LockRepo
from tests.tracking.live_stage import prepare
from tests.tracking.stored import runs_of


def test_what_no_output_tells_has_to_be_named() -> None:
    run = StageRun(cast(StageFacts, cast(Any, None)), "", is_on=False)
    run.metrics(dict.fromkeys(LIVE_ONLY, 1.0))
    run.metrics({"loss": 1.0}, step=1)
    with pytest.raises(ValueError, match=r"^\['loss'\]: .* see LIVE_ONLY"):
        run.metrics({"loss": 1.0})


@pytest.mark.parametrize("fault", ["another owner", "no git", "no repository"])
def test_what_git_does_not_say_is_not_logged(
    repo: LockRepo, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fault: str
) -> None:
    repo.run_and_commit()
    prepare(repo)
    if fault == "no git":
        monkeypatch.setenv("PATH", str(repo.folder))
    elif fault == "no repository":
        (repo.root / ".git").rename(repo.root / "away")
    elif os.geteuid():
        pytest.skip("only root can give a folder to another user")
    else:
        os.chown(repo.root, 65534, 65534)
        os.chown(repo.root / ".git", 65534, 65534)
    content = read_yaml(repo.folder / "params.yaml")
    run = StageRun(read_facts(repo.folder, "train", content), "small")
    run.finish(repo.folder)
    (sentence,) = capfd.readouterr().err.splitlines()
    assert sentence.startswith("mlflow: ")
    assert sentence.endswith("train is logged without its commit.")
    for stage in ("train", "experiment"):
        (stored,) = runs_of(repo, stage)
        assert stored.info.status == "FINISHED"
        assert "mlflow.source.git.commit" not in stored.data.tags


def test_a_row_is_finished_once_its_model_is_evaluated(repo: LockRepo) -> None:
    repo.run_and_commit()
    prepare(repo)
    lock = repo.folder / "dvc.lock"
    whole = lock.read_text()
    seen = []
    for known in (whole[: whole.index("  evaluate:")], whole):  # before and after evaluate
        lock.write_text(known)
        run = StageRun(
            read_facts(repo.folder, "train", read_yaml(repo.folder / "params.yaml")), "small"
        )
        seen.append(runs_of(repo, "experiment")[0].info.status)
        run.finish(repo.folder)
        seen.append(runs_of(repo, "experiment")[0].info.status)
    assert seen == ["RUNNING", "SCHEDULED", "RUNNING", "FINISHED"]
    assert "epoch" not in runs_of(repo, "train")[0].data.metrics


def test_a_row_is_not_finished_by_the_results_of_another_experiment(repo: LockRepo) -> None:
    repo.run_and_commit()
    prepare(repo)
    repo.set_params(train={"epochs": 3})
    repo.run("train")  # evaluate is that of the model before
    content = read_yaml(repo.folder / "params.yaml")
    StageRun(read_facts(repo.folder, "train", content), "small").finish(repo.folder)
    assert runs_of(repo, "experiment")[0].info.status == "SCHEDULED"
