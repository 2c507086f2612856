"""Whether a lock is up to date, without data: each change named once, without what follows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.errors import MalariaError
from malaria.gate import lock_check
from malaria.gate.lock_check import LockState, check_lock
from malaria.pipeline.stages import locked_hashes, md5
from tests.gate.locked import METRICS, MODEL, STAGES, write
from tests.gate.test_metrics_check import edit
from tests.git_repo import git


@pytest.mark.parametrize("folder", [".", "pilot"])
def test_a_clone_without_data_is_ok(finished: Path, folder: str) -> None:
    assert not (finished / folder / MODEL).exists()
    assert check_lock(finished, folder) == LockState(folder, "ok")


def test_without_a_lock_a_pipeline_has_not_run_unless_it_left_results(clone: Path) -> None:
    (clone / "pilot/dvc.lock").unlink()
    state = check_lock(clone, "pilot")
    assert state.reasons == (
        "pilot/dvc.lock records no run of train",
        "pilot/dvc.lock records no run of evaluate, but pilot/reports/predictions.csv is there",
        "pilot/dvc.lock records no run of report, but pilot/reports/report.html is there",
    )
    assert (state.rerun, state.remedy) == (STAGES, "uv run dvc --cd pilot repro")
    shutil.rmtree(clone / "pilot/reports")
    assert check_lock(clone, "pilot").state == "never run"


def test_each_change_is_named_once_with_its_stages(clone: Path) -> None:
    pilot = clone / "pilot"
    edit(clone / "malaria/core/a.py", "#", "##")
    (clone / "malaria/core/new.py").touch()
    (clone / "malaria/core/notes.md").touch()  # not code
    (clone / "stages/report.py").unlink()
    edit(pilot / "params.yaml", "epochs: 6", "epochs: 7, seed: 1")
    edit(pilot / "params.yaml", "threshold: youden", "limit: 1")
    edit(pilot / "dvc.yaml", "stages evaluate", "stages evaluate --fast")
    edit(pilot / "dvc.yaml", "outs: [models", "outs: [models/last.keras, models")
    edit(pilot / "dvc.yaml", "params: [evaluate.threshold]", "params: [evaluate.limit]")
    (pilot / "reports/predictions.csv").unlink()
    write(pilot / "reports/tables/groups.csv", "other content")
    assert check_lock(clone, "pilot") == LockState(
        "pilot",
        "stale",
        (
            "train has not run since pilot/dvc.yaml names pilot/models/last.keras",
            "train.epochs in pilot/params.yaml is 7, but train ran with 6",
            "train.seed in pilot/params.yaml is 1, but train ran without it",
            "malaria/core was modified after train and evaluate ran (malaria/core/a.py, "
            "malaria/core/new.py)",
            'evaluate.threshold in pilot/params.yaml is missing, but evaluate ran with "youden"',
            "evaluate.limit in pilot/params.yaml is 1, but evaluate ran without it",
            "pilot/reports/predictions.csv was deleted after evaluate left it",
            "pilot/reports/tables was modified after evaluate left it",
            "changed command of evaluate in pilot/dvc.yaml",
            "report has not run since pilot/dvc.yaml names evaluate.limit",
            "stages/report.py was deleted after report ran",
        ),
        STAGES,
        "uv run dvc --cd pilot repro",
        ("pilot/reports/predictions.csv", "pilot/reports/tables/groups.csv"),
    )


def test_another_model_and_a_new_stage_have_not_run(clone: Path) -> None:
    edit(clone / "params.yaml", "model: s", "model: l")
    edit(
        clone / "dvc.yaml",
        "  report:",
        "  explain: {cmd: x, deps: [models/model.keras]}\n  report:",
    )
    edit(clone / "dvc.yaml", "params: [evaluate.threshold]", "params: [evaluate.limit]")
    edit(clone / "dvc.yaml", "params: [evaluate]", "params: [evaluate, evaluate.limit]")
    state = check_lock(clone, ".")
    assert state.reasons == (
        "train has not run since dvc.yaml names malaria/systems/l.py",
        'train.model in params.yaml is "l", but train ran with "s"',
        "evaluate and report have not run since dvc.yaml names evaluate.limit",
        "dvc.lock records no run of explain",
    )
    assert state.rerun == ("train", "evaluate", "explain", "report")
    assert state.remedy == "uv run dvc repro"


def test_of_many_edited_files_some_are_named_if_the_lock_has_a_commit(clone: Path) -> None:
    for name in "cdef":
        (clone / f"malaria/core/{name}.py").touch()
    (reason,) = check_lock(clone, "pilot").reasons
    assert reason.endswith("ran (malaria/core/c.py, malaria/core/d.py, malaria/core/e.py, ...)")
    git(clone, "rm", "-q", "--cached", "pilot/dvc.lock")
    git(clone, "commit", "-q", "--amend", "-m", "results without the lock")
    (reason,) = check_lock(clone, "pilot").reasons
    assert reason == "malaria/core was modified after train and evaluate ran"


def test_edited_metrics_are_stale_even_with_a_lock_that_fits(clone: Path) -> None:
    lock, metrics = clone / "pilot/dvc.lock", clone / "pilot" / METRICS
    before = md5(metrics)
    edit(metrics, "0.75", "0.95")
    state = check_lock(clone, "pilot")
    number = (
        "test.roc_auc in pilot/reports/metrics.json is 0.95, but reports/predictions.csv gives "
        "0.75 at the file's threshold"
    )
    modified = "pilot/reports/metrics.json was modified after evaluate left it"
    assert state.reasons == (modified, number)
    assert state.rerun == ("evaluate", "report")
    lock.write_text(lock.read_text().replace(before, md5(metrics)))
    state = check_lock(clone, "pilot")
    assert (state.reasons, state.rerun) == ((number,), ("evaluate", "report"))
    assert state.remedy == "uv run dvc --cd pilot repro --force"


def test_a_frozen_stage_hides_no_change(clone: Path) -> None:
    command = "    cmd: python stages evaluate\n"
    edit(clone / "pilot/dvc.yaml", command, f"{command}    frozen: true\n")
    (clone / "stages/evaluate.py").write_text("# changed\n")
    assert check_lock(clone, "pilot").reasons == (
        "pilot/dvc.yaml freezes evaluate, so DVC does not look for changes",
    )


@pytest.mark.parametrize("how", ["another stage", "other params"])
def test_a_threshold_by_no_locked_rule_is_stale_even_with_a_lock_that_fits(
    clone: Path, how: str
) -> None:
    pilot = clone / "pilot"
    metrics, lock = pilot / METRICS, pilot / "dvc.lock"
    before = md5(metrics)
    edit(metrics, '"roc_auc"', '"auc"')
    text = lock.read_text().replace(before, md5(metrics))
    if how == "another stage":
        edit(pilot / "dvc.yaml", "\n  evaluate:\n", "\n  assess:\n")
        text = text.replace("\n  evaluate:\n", "\n  assess:\n")
    else:
        edit(pilot / "dvc.yaml", "params: [evaluate]", "params: [evaluate.seed]")
        edit(pilot / "params.yaml", "threshold: youden", "threshold: youden, seed: 1")
        text = text.replace("evaluate:\n          threshold: youden", "evaluate.seed: 1")
    assert text.count("evaluate.threshold: youden") == 1  # of the stage report
    lock.write_text(text)
    assert check_lock(clone, "pilot").reasons == (
        "pilot/reports/metrics.json cannot be checked: its lock does not say by which "
        "evaluate.threshold it is",
    )


def test_stages_of_different_runs_are_seen_in_the_lock(clone: Path) -> None:
    lock = clone / "pilot/dvc.lock"
    edit(lock, locked_hashes(clone / "pilot")[MODEL], "a" * 32)  # what train left
    lock.write_text(lock.read_text().split("  report:")[0])
    assert check_lock(clone, "pilot").reasons == (
        "pilot/models/model.keras is of another run than the one that evaluate read",
        "pilot/dvc.lock records no run of report, but pilot/reports/report.html is there",
    )


def test_data_that_was_not_fetched_means_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status: dict[str, Any] = {
        "train": [{"changed outs": {}}],
        "evaluate": [{"changed deps": {MODEL: "modified"}}],  # belongs to train
    }
    monkeypatch.setattr(lock_check, "_read_status", lambda *_: status)
    for how in ("not in cache", "deleted"):
        status["train"][0]["changed outs"][MODEL] = how
        assert check_lock(finished, ".").state == "ok"
    status["train"][0]["changed outs"][MODEL] = "modified"
    assert check_lock(finished, ".").reasons == (f"{MODEL} was modified after train left it",)


def test_what_dvc_cannot_read_is_refused(clone: Path) -> None:
    edit(clone / "pilot/dvc.yaml", "cmd: python", "comand: python")
    with pytest.raises(MalariaError, match=r"`uv run dvc --cd pilot status` failed: .*"):
        check_lock(clone, "pilot")


def test_the_command_answers_people_and_programs(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", clone)
    edit(clone / "stages/report.py", "#", "##")
    answer = CliRunner().invoke(cli.app, ["lock-check", "pilot"])
    assert answer.exit_code == 1
    assert answer.stdout == (
        "pilot: stale\n  stages/report.py was modified after report ran\n"
        "  to run again: report; `uv run dvc --cd pilot repro`\n"
    )
    (clone / "pilot/dvc.lock").unlink()
    shutil.rmtree(clone / "pilot/reports")
    answer = CliRunner().invoke(cli.app, ["lock-check", "--json", "pilot"])
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)[0]["uncommitted"][0] == "pilot/dvc.lock"
    assert json.loads(answer.stdout)[0]["state"] == "never run"


def test_results_that_are_not_committed_are_named(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", clone)
    monkeypatch.setattr("malaria.paths.PIPELINES", (".", "pilot"))
    monkeypatch.setattr("malaria.studies.results.TABLES", {})
    git(clone, "rm", "-q", "-r", "--cached", "pilot/dvc.lock", "pilot/reports")
    git(clone, "commit", "-q", "-m", "no results of the pilot")
    answer = CliRunner().invoke(cli.app, ["lock-check"])
    said = "pilot: ok, not committed: pilot/dvc.lock, pilot/reports\n"
    assert (answer.stdout, answer.exit_code) == (f".: ok\n{said}", 0)
    edit(clone / "pilot/params.yaml", "epochs: 6", "epochs: 7")
    answer = CliRunner().invoke(cli.app, ["lock-check"])
    assert answer.stdout.startswith(".: ok\npilot: stale, not committed: pilot/dvc.lock, pilot/rep")
    assert answer.exit_code == 0  # nothing that is committed is stale
    assert CliRunner().invoke(cli.app, ["lock-check", "pilot"]).exit_code == 1
    git(clone, "add", "pilot")
    assert CliRunner().invoke(cli.app, ["lock-check"]).exit_code == 1
