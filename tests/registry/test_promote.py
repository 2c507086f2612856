"""Who becomes champion: real DVC, Git and MLflow stores, with results that are made up."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.errors import MalariaError
from malaria.pipeline.git import REFERENCE
from malaria.registry.register import register
from tests.gate.test_judge import cells
from tests.git_repo import git
from tests.mlflow_server import mlflow_server
from tests.registry.conftest import Lab

pytestmark = pytest.mark.slow  # each verdict asks DVC


def records(lab: Lab, version: str) -> dict[str, str]:
    """Return the tags of a promotion."""
    found = lab.tags(version).items()
    return {key[10:]: value for key, value in found if key.startswith("promotion.")}


def test_the_first_champion_needs_only_the_floors_and_keeps_who_when_and_why(lab: Lab) -> None:
    lab.set_rules(floor=0.999)
    lab.commit("floors")
    found = lab.promote()
    assert (found.outcome, found.champion) == ("fail", "")
    assert found.reasons[0].endswith("is below the floor 0.999")
    assert lab.aliases() == {"candidate": "1"}
    lab.set_rules()
    lab.commit("no floors")
    before = datetime.now(UTC) - timedelta(seconds=1)
    found = lab.promote("  the first one  ")
    assert (found.outcome, found.former, found.is_champion) == ("first_run", "", True)
    assert found.reasons == ("the base has no predictions to compare with",)
    tags = records(lab, "1")
    assert before <= datetime.fromisoformat(tags.pop("time")) <= datetime.now(UTC)
    assert tags == {
        "by": "Ada <ada@example.org>",
        "reason": "the first one",
        "verdict": "first_run",
        "former": "none",
        "commit": git(lab.root, "rev-parse", "HEAD"),
    }
    again = lab.promote("once more")
    assert (again.outcome, again.is_champion) == ("unchanged", True)
    assert records(lab, "1")["reason"] == "the first one"


def test_a_worse_candidate_leaves_the_champion_and_an_equal_one_follows_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.promote()
    lab.register_new("worse", cells(loss=1.5))
    monkeypatch.setattr("malaria.cli.root.ROOT", lab.root)
    text = CliRunner().invoke(cli.app, ["promote", "--reason", "try"])
    as_json = CliRunner().invoke(cli.app, ["promote", "--reason", "try", "--json"])
    assert text.exit_code == as_json.exit_code == 1
    assert "sensitivity against the base: worse by" in text.output
    assert text.output.endswith("champion: version 1, as before\n")
    content = json.loads(as_json.stdout)
    assert (content["outcome"], content["champion"], content["is_champion"]) == ("fail", "1", False)
    assert lab.aliases() == {"candidate": "2", "champion": "1"}
    assert not records(lab, "2")
    lab.register_new("equal", cells(noise=0.01))
    found = lab.promote(by="Grace")
    assert (found.outcome, found.former, found.champion) == ("pass", "1", "3")
    assert (records(lab, "3")["by"], records(lab, "3")["former"]) == ("Grace", "1")


def test_too_few_patients_are_not_a_pass_and_a_champion_can_come_back(lab: Lab) -> None:
    first = git(lab.root, "rev-parse", "HEAD")
    lab.promote()
    lab.register_new("equal", cells(noise=0.01))
    assert lab.promote().is_champion
    lab.back_to(first)
    lab.register()
    found = lab.promote("back to the first")
    assert (found.outcome, found.champion, found.former) == ("pass", "1", "2")
    assert records(lab, "1")["reason"] == "back to the first"
    lab.set_rules(margin=0.001)
    lab.register_new("other", cells(noise=0.3, seed=3))
    found = lab.promote()
    assert (found.outcome, found.champion) == ("inconclusive", "1")
    assert "too few patients" in found.reasons[0]


def test_a_champion_of_other_test_cells_stays_unless_its_model_can_be_evaluated(lab: Lab) -> None:
    lab.promote()
    lab.register_new("more patients", cells(patients=30))
    found = lab.promote()
    assert (found.outcome, found.champion) == ("not_comparable", "1")
    assert found.reasons[0].startswith("the champion was tested on other cells or labels; --eval")
    shutil.rmtree(lab.pilot / ".dvc/cache")
    with pytest.raises(MalariaError, match=r"the base's data/cells\.csv .* is not in DVC's cache"):
        lab.promote(evaluate_base=True)
    lab.delete_alias("champion")
    assert (lab.promote().outcome, lab.aliases()["champion"]) == ("first_run", "2")


def test_the_reference_can_stop_a_candidate(lab: Lab) -> None:
    git(lab.root, "tag", REFERENCE)
    lab.register_new("a little worse", cells(loss=1.4))
    assert lab.promote().is_champion
    lab.register_new("a little worse still", cells(loss=1.5))
    found = lab.promote()
    assert (found.outcome, found.champion) == ("fail", "2")
    assert "sensitivity against the reference" in found.reasons[0]


def test_only_the_evaluated_and_committed_candidate_is_promoted(lab: Lab) -> None:
    for reason in ("", "  ", "x" * 5001):
        with pytest.raises(MalariaError, match="--reason has"):
            lab.promote(reason)
    lab.evaluate("B", cells(noise=0.01), commit=False)
    with pytest.raises(MalariaError, match=r"pilot/dvc\.lock is not as in HEAD; commit it first"):
        lab.promote()
    lab.commit("B")
    with pytest.raises(MalariaError, match=r"the candidate, version 1 of made-up, has a model wit"):
        lab.promote()
    lab.delete_alias("candidate")
    with pytest.raises(MalariaError, match=r"has no candidate; make one with `uv run malaria reg"):
        lab.promote()


def test_without_a_name_nobody_promotes_and_a_champion_without_artifacts_is_named(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    git(lab.root, "config", "--unset", "user.email")
    with pytest.raises(MalariaError, match=r"Git has no user\.name and user\.email"):
        lab.promote()
    assert lab.promote(by="Ada").is_champion
    shutil.rmtree(lab.root / "mlartifacts")
    lab.register_new("B", cells(noise=0.01))
    with pytest.raises(MalariaError, match=r"version 1 of made-up has no predictions to compare"):
        lab.promote(by="Ada")


def test_a_server_keeps_them_and_one_that_is_away_is_one_sentence(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    said = r"the MLflow store http://127\.0\.0\.1:9 failed"
    with pytest.raises(MalariaError, match=said) as away:
        register(lab.root, "pilot")
    assert "secret" not in str(away.value)
    with mlflow_server(tmp_path) as (address, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert lab.register().is_new
        assert not lab.register().is_new
        assert lab.promote().is_champion
        lab.register_new("worse", cells(loss=1.5))
        assert lab.promote().outcome == "fail"  # with the champion's files from the server
        assert lab.aliases() == {"candidate": "2", "champion": "1"}
