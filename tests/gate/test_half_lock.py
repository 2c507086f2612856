"""A pipeline that has run only up to a stage: what of it is accepted, and what is not."""

import shutil
from pathlib import Path

from malaria.gate.lock_check import check_lock
from malaria.pipeline.stages import locked_hashes, md5
from tests.gate.locked import METRICS, PIPELINE, keep_in_lock
from tests.gate.test_metrics_check import edit
from tests.git_repo import git


def test_a_pipeline_may_have_run_only_up_to_a_stage(clone: Path) -> None:
    pilot = clone / "pilot"
    keep_in_lock(pilot, "train", "evaluate")
    (pilot / "reports/report.html").unlink()
    state = check_lock(clone, "pilot")
    assert (state.state, state.last, state.never_ran) == ("ok", "evaluate", ("report",))
    assert str(state).startswith("pilot: ok up to evaluate; report: never run, not committed: ")
    keep_in_lock(pilot, "train")
    shutil.rmtree(pilot / "reports")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "only trained")
    state = check_lock(clone, "pilot")
    assert (state.state, state.never_ran, state.reasons) == ("ok", ("evaluate", "report"), ())
    assert str(state) == "pilot: ok up to train; evaluate and later: never run"


def test_what_a_half_lock_has_must_be_current_and_runs_again_alone(clone: Path) -> None:
    pilot = clone / "pilot"
    keep_in_lock(pilot, "train", "evaluate")
    (pilot / "reports/report.html").unlink()
    edit(clone / "malaria/core/a.py", "#", "##")
    state = check_lock(clone, "pilot")
    assert state.state == "stale"
    assert state.reasons == (
        "malaria/core was modified after train and evaluate ran (malaria/core/a.py)",
    )
    assert (state.rerun, state.remedy) == (
        ("train", "evaluate"),
        "uv run dvc --cd pilot repro train evaluate",
    )
    edit(clone / "malaria/core/a.py", "##", "#")
    edit(pilot / METRICS, "0.75", "0.95")
    reasons = check_lock(clone, "pilot").reasons
    assert reasons[0] == "pilot/reports/metrics.json was modified after evaluate left it"
    lock = pilot / "dvc.lock"
    lock.write_text(lock.read_text().replace(locked_hashes(pilot)[METRICS], md5(pilot / METRICS)))
    state = check_lock(clone, "pilot")
    assert state.remedy == "uv run dvc --cd pilot repro --force evaluate"
    (pilot / METRICS).unlink()
    assert "pilot/reports/metrics.json was deleted after evaluate left it" in (
        check_lock(clone, "pilot").reasons
    )


def test_a_later_stage_without_an_earlier_one_cannot_be(clone: Path) -> None:
    pilot = clone / "pilot"
    keep_in_lock(pilot, "evaluate")
    (pilot / "reports/report.html").unlink()
    state = check_lock(clone, "pilot")
    assert (state.state, state.reasons) == (
        "stale",
        ("pilot/dvc.lock records no run of train",),
    )
    keep_in_lock(pilot)
    assert check_lock(clone, "pilot").reasons == (
        "pilot/dvc.lock records no run of train",
        "pilot/dvc.lock records no run of evaluate, but pilot/reports/predictions.csv is there",
    )
    shutil.rmtree(pilot / "reports")
    assert check_lock(clone, "pilot").state == "never run"
    (pilot / "dvc.yaml").write_text(PIPELINE.replace("  train:", "  fit:"))
    lock = (clone / "dvc.lock").read_text()
    (pilot / "dvc.lock").write_text(lock.split("  evaluate:")[0])
    assert check_lock(clone, "pilot").state == "stale"  # of a stage that is not there


def test_results_without_a_run_are_no_results(clone: Path) -> None:
    pilot = clone / "pilot"
    keep_in_lock(pilot, "train")
    (pilot / "reports/report.html").unlink()
    assert check_lock(clone, "pilot").reasons == (
        "pilot/dvc.lock records no run of evaluate, but pilot/reports/predictions.csv is there",
    )
