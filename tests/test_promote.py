"""Who becomes champion: real DVC, Git and MLflow stores, with results that are made up."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from malaria import cli
from malaria import promote as promotion
from malaria.errors import MalariaError
from malaria.gate import Judgement
from malaria.metrics import compute_metrics, write_metrics
from malaria.pipeline import identity_of_lock, md5
from malaria.promote import Promotion, promote
from malaria.register import Registered, register
from malaria.registry import open_registry
from malaria.revisions import REFERENCE
from malaria.store import UPLOAD_LIMIT_S, find_row, http_limit, open_store
from tests.mlflow_server import mlflow_server
from tests.test_experiments import git
from tests.test_gate import PARAMS, cells
from tests.test_lockcheck import dvc

pytestmark = pytest.mark.slow  # each verdict asks DVC

PIPELINE = """\
stages:
  preprocess:
    cmd: nothing
    deps: [cells.zip]
    outs: [data/raw/cell_images.zip, data/cells.csv, data/images.npy]
  evaluate:
    cmd: nothing
    deps: [data/cells.csv, data/images.npy]
    params: [evaluate.threshold]
    outs:
      - models/model.keras
      - reports/predictions.csv: {cache: false}
      - reports/model_card.md: {cache: false}
    metrics:
      - reports/metrics.json: {cache: false}
"""
NAME = "made-up"
MODEL = "pilot/models/model.keras"
WHO = "Ada <ada@example.org>"
FIRST = ("the base has no predictions to compare with",)


class Lab:
    """A repository in which models are made and evaluated in no time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pilot = root / "pilot"

    def make(self) -> None:
        """Make the repository, and an empty store, which takes MLflow seconds."""
        root = self.root
        for folder in ("data/raw", "models", "reports"):
            (self.pilot / folder).mkdir(parents=True)
        (self.pilot / "dvc.yaml").write_text(PIPELINE)
        (self.pilot / "cells.zip").write_text("cells")
        for file in ("data/raw/cell_images.zip", "data/cells.csv", "data/images.npy"):
            (self.pilot / file).write_text(file)
        (self.pilot / "reports/model_card.md").write_text("# Model card: made up\n")
        self.set_params()
        (root / ".gitignore").write_text("mlflow.db*\nmlartifacts\ndata\nmodels\n")
        git(root, "init", "-q")
        git(root, "config", "user.name", "Ada")
        git(root, "config", "user.email", "ada@example.org")
        dvc(root, "init", "-q")
        MlflowClient(f"sqlite:///{root}/mlflow.db").search_experiments()

    def set_params(self, **gate: Any) -> None:
        rules = PARAMS.model_copy(update=gate).model_dump(mode="json")
        params = {
            "repo": "..",
            "evaluate": {"threshold": "fixed_0.5"},
            "gate": rules,
            "mlflow": {"experiment": NAME},
        }
        (self.pilot / "params.yaml").write_text(json.dumps(params))

    def evaluate(self, model: str, predictions: pd.DataFrame, commit: bool = True) -> None:
        """Leave a model and its predictions, as if the stages had run."""
        (self.pilot / "models/model.keras").unlink(missing_ok=True)
        (self.pilot / "models/model.keras").write_text(model)
        predictions.to_csv(self.pilot / "reports/predictions.csv", index=False)
        metrics = {
            split: compute_metrics(predictions[predictions["split"] == split], 0.5)
            for split in ("val", "test")
        }
        write_metrics(metrics, {}, self.pilot / "reports/metrics.json")
        dvc(self.root, "commit", "--force", "pilot/dvc.yaml")
        if commit:
            self.commit(model)

    def commit(self, message: str) -> None:
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", message)

    def register(self) -> Registered:
        """Register the model; its training, which MLflow would have logged, is made up too."""
        with http_limit(UPLOAD_LIMIT_S):
            self.log()
        return register(self.root, "pilot")

    def log(self) -> tuple[str, str]:
        """Return the ids of a row and of a training's run, which MLflow then has."""
        client, experiment = open_store(self.root, NAME)
        identity = identity_of_lock(self.pilot, "..")
        made = f"out.{MODEL}"
        hash_ = md5(self.root / MODEL)
        train = client.create_run(experiment, tags={"malaria.stage": "train", made: hash_})
        tags = {"malaria.stage": "experiment", "malaria.identity": identity}
        row = find_row(client, experiment, identity)
        row = row or client.create_run(experiment, tags=tags).info.run_id
        client.set_tag(row, "malaria.run.train", train.info.run_id)
        return row, train.info.run_id

    def promote(self, reason: str = "it is better", **options: Any) -> Promotion:
        return promote(self.root, "pilot", reason, **options)

    def tags(self, version: str) -> dict[str, str]:
        with open_registry(self.root, "pilot") as registry:
            return next(dict(one.tags) for one in registry.versions() if one.number == version)

    def promotions(self, version: str) -> list[tuple[str, dict[str, str]]]:
        """Return when a version was promoted, and what was kept of it, the oldest first."""
        found: dict[str, dict[str, str]] = {}
        for key, value in self.tags(version).items():
            if key.startswith("promotion."):
                at, fact = key.removeprefix("promotion.").rsplit(".", 1)
                found.setdefault(at, {})[fact] = value
        return sorted(found.items())

    def aliases(self) -> dict[str, str]:
        with open_registry(self.root, "pilot") as registry:
            found = {alias: registry.at(alias) for alias in ("candidate", "champion")}
        return {alias: version.number for alias, version in found.items() if version}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Return a repository with one evaluated model, for `lab` to copy."""
    lab = Lab(tmp_path_factory.mktemp("evaluated") / "repo")
    lab.make()
    lab.evaluate("A", cells())
    return lab


@pytest.fixture
def lab(evaluated: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Return a repository with one evaluated model, which is registered."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(evaluated.root, tmp_path / "repo")
    lab = Lab(tmp_path / "repo")
    lab.register()
    return lab


def test_a_version_tells_all_and_is_not_registered_twice(lab: Lab) -> None:
    assert lab.register() == Registered(NAME, "1", is_new=False)
    tags = lab.tags("1")
    lock = (lab.pilot / "dvc.lock").read_text()
    for key in ("dep.pilot/data/cells.csv", "dep.pilot/data/raw/cell_images.zip", "malaria.model"):
        assert f"md5: {tags[key]}" in lock
    metrics = json.loads((lab.pilot / "reports/metrics.json").read_text())
    assert tags["malaria.threshold"] == "0.5"
    assert float(tags["test.sensitivity"]) == metrics["test"]["sensitivity"]
    assert tags["malaria.commit"] == git(lab.root, "rev-parse", "HEAD")
    client = MlflowClient(f"sqlite:///{lab.root}/mlflow.db")
    version = client.get_model_version(NAME, "1")
    assert version.description == "# Model card: made up"
    row, train = client.get_run(str(version.run_id)), client.get_run(tags["malaria.run.train"])
    assert row.data.tags["malaria.identity"] == tags["malaria.identity"]
    assert train.data.tags[f"out.{MODEL}"] == tags["malaria.model"]
    (logged,) = client.search_logged_models([row.info.experiment_id])
    assert (logged.source_run_id, logged.status) == (train.info.run_id, "READY")
    (data,) = (lab.root / "mlartifacts").rglob("data/classifier")
    assert sorted(file.name for file in data.iterdir()) == [
        *("metrics.json", "model.keras", "model_card.md", "predictions.csv")
    ]
    assert (data / "model.keras").read_text() == "A"
    assert (data.parents[1] / "code/malaria/serving.py").is_file()


def test_another_model_is_another_version_and_an_old_one_becomes_candidate_again(lab: Lab) -> None:
    first = git(lab.root, "rev-parse", "HEAD")
    lab.evaluate("B", cells())
    assert lab.register() == Registered(NAME, "2", is_new=True)
    git(lab.root, "checkout", "-q", first)
    dvc(lab.root, "checkout", "--force", "pilot/dvc.yaml")
    assert lab.register() == Registered(NAME, "1", is_new=False)
    assert lab.aliases() == {"candidate": "1"}


def test_a_model_without_its_runs_is_not_registered(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lab.evaluate("B", cells())
    client, _ = open_store(lab.root, NAME)
    for spoil in (
        lambda train: client.set_tag(train, f"out.{MODEL}", "of another model"),
        lambda train: client.delete_run(train),
        lambda train: None,
    ):
        with pytest.raises(MalariaError, match=r"has no run of pilot/models/model\.keras \(MD5"):
            register(lab.root, "pilot")
        spoil(lab.log()[1])
    assert register(lab.root, "pilot") == Registered(NAME, "2", is_new=True)
    assert not list(tmp_path.glob("mlflow*"))  # where it is called from does not matter


def test_what_is_not_the_run_of_the_lock_is_not_registered(lab: Lab) -> None:
    (lab.pilot / "reports/model_card.md").write_text("# Another\n")
    with pytest.raises(MalariaError, match=r"model_card\.md has the MD5 .* or run `uv run dvc rep"):
        lab.register()
    git(lab.root, "checkout", "-q", ".")
    params = (lab.pilot / "params.yaml").read_text()
    (lab.pilot / "params.yaml").write_text(params.replace("fixed_0.5", "youden"))
    with pytest.raises(
        MalariaError, match=r"the lock of pilot does not tell .* is \"youden\", but"
    ):
        lab.register()
    git(lab.root, "checkout", "-q", ".")
    (lab.pilot / "models/model.keras").unlink()
    with pytest.raises(MalariaError, match=r"model\.keras is missing; fetch it with `uv run dvc p"):
        register(lab.root, "pilot")


def test_the_first_champion_needs_the_floors_and_keeps_who_when_and_why(lab: Lab) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    found = lab.promote("  the first one  ")
    assert found.is_champion
    assert (found.outcome, found.former, found.reasons) == ("first_run", "", FIRST)
    ((at, record),) = lab.promotions("1")
    assert before <= datetime.fromisoformat(at) <= datetime.now(UTC)
    assert record == {
        "by": WHO,
        "reason": "the first one",
        "verdict": "first_run",
        "against": "nothing, as the first champion",
        "former": "none",
        "commit": git(lab.root, "rev-parse", "HEAD"),
    }
    again = lab.promote()
    assert (again.outcome, again.is_champion) == ("unchanged", True)
    assert len(lab.promotions("1")) == 1


def test_a_floor_stops_the_first_champion(lab: Lab) -> None:
    rules = PARAMS.metrics["sensitivity"].model_copy(update={"floor": 0.999})
    lab.set_params(metrics={"sensitivity": rules})
    lab.commit("a floor")
    found = lab.promote()
    assert (found.outcome, found.champion) == ("fail", "")
    assert found.reasons[0].endswith("is below the floor 0.999")
    assert lab.aliases() == {"candidate": "1"}


def test_the_first_champion_is_held_against_the_results_before_its_own(lab: Lab) -> None:
    before = git(lab.root, "rev-parse", "HEAD")
    lab.evaluate("worse", cells(loss=1.5))
    lab.register()
    found = lab.promote()
    assert (found.outcome, found.is_champion) == ("fail", False)
    assert found.against == f"the results of {before[:8]}"
    lab.evaluate("as good as before", cells(noise=0.01))
    lab.register()
    assert lab.promote().outcome == "pass"


def test_a_worse_candidate_leaves_the_champion_and_an_equal_one_follows_it(lab: Lab) -> None:
    lab.promote()
    lab.evaluate("worse", cells(loss=1.5))
    lab.register()
    runner = CliRunner()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("malaria.root.ROOT", lab.root)
        told = runner.invoke(cli.app, ["promote", "--reason", "try"])
        as_json = runner.invoke(cli.app, ["promote", "--reason", "try", "--json"])
    assert told.exit_code == as_json.exit_code == 1
    assert told.output == (
        "made-up: version 2 against the champion, version 1: fail\n"
        "  sensitivity against the base: worse, and a loss beyond 0.05 cannot be excluded\n"
        "champion: version 1, as before\n"
    )
    content = json.loads(as_json.output)
    assert (content["outcome"], content["champion"], content["is_champion"]) == ("fail", "1", False)
    assert lab.aliases() == {"candidate": "2", "champion": "1"}
    assert not lab.promotions("2")
    lab.evaluate("equal", cells(noise=0.01))
    lab.register()
    found = lab.promote(by="Grace")
    assert (found.outcome, found.former, found.champion) == ("pass", "1", "3")
    ((_, record),) = lab.promotions("3")
    assert (record["by"], record["former"]) == ("Grace", "1")


def test_too_few_patients_are_no_pass_and_a_champion_can_come_back(lab: Lab) -> None:
    first = git(lab.root, "rev-parse", "HEAD")
    lab.promote()
    lab.evaluate("equal", cells(noise=0.01))
    lab.register()
    assert lab.promote().is_champion
    git(lab.root, "checkout", "-q", first)
    dvc(lab.root, "checkout", "--force", "pilot/dvc.yaml")
    lab.register()
    found = lab.promote("back to the first")
    assert (found.outcome, found.champion, found.former) == ("pass", "1", "2")
    reasons = [record["reason"] for _, record in lab.promotions("1")]
    assert reasons == ["it is better", "back to the first"]
    strict = {
        name: rule.model_copy(update={"margin": 0.001}) for name, rule in PARAMS.metrics.items()
    }
    lab.set_params(metrics=strict)
    lab.evaluate("other", cells(noise=0.3, seed=3))
    lab.register()
    found = lab.promote()
    assert (found.outcome, found.champion) == ("inconclusive", "1")
    assert "too few patients" in found.reasons[0]


def test_a_champion_of_other_test_cells_is_no_yardstick_unless_reviewed(lab: Lab) -> None:
    lab.promote()
    champion = git(lab.root, "rev-parse", "HEAD")
    lab.evaluate("more patients", cells(patients=30))
    lab.register()
    found = lab.promote()
    assert (found.outcome, found.champion) == ("not_comparable", "1")
    assert f"of the commit {champion}; --evaluate-base" in found.reasons[-1]
    shutil.rmtree(lab.root / ".dvc/cache")
    with pytest.raises(MalariaError, match=r"the base's data/cells\.csv .* is not in DVC's cache"):
        lab.promote(evaluate_base=True)
    reset = {"commit": champion, "reason": "six patients more since July"}
    params = json.loads((lab.pilot / "params.yaml").read_text())
    params["gate"]["baseline_reset"] = reset
    (lab.pilot / "params.yaml").write_text(json.dumps(params))
    with pytest.raises(MalariaError, match=r"params\.yaml is not as HEAD has it; commit it first"):
        lab.promote()
    lab.commit("a reset, reviewed")
    found = lab.promote()
    assert (found.outcome, found.champion, found.reasons[0]) == ("reset", "1", reset["reason"])
    assert found.reasons[1].startswith("a reset is no PASS; --evaluate-base evaluates the champ")
    with pytest.raises(MalariaError, match=r"the base's data/cells\.csv .* is not in DVC's cache"):
        lab.promote(evaluate_base=True)  # which the reset does not keep from it
    with open_registry(lab.root, "pilot") as registry:
        registry.client.delete_registered_model_alias(NAME, "champion")
    found = lab.promote()
    assert (found.outcome, found.champion, found.reasons) == ("reset", "2", (reset["reason"],))


def test_of_two_who_promote_at_once_one_or_none_does(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(2)

    def judge_together(*arguments: Any) -> Judgement:
        found = judge(*arguments)
        meeting.wait(60)
        return found

    judge = promotion._judge
    monkeypatch.setattr(promotion, "_judge", judge_together)
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(lab.promote, by=who) for who in ("Ada", "Grace")]
        failed = [one.exception() for one in asked if one.exception()]
    assert failed
    assert all("somebody else promotes a model of made-up" in str(error) for error in failed)
    promoted = [one.result() for one in asked if not one.exception()]
    assert len(lab.promotions("1")) == len(promoted)
    assert lab.aliases().get("champion") == ("1" if promoted else None)
    meeting = threading.Barrier(1)
    assert lab.promote().is_champion


def test_a_champion_of_the_meantime_is_not_passed_over(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.promote()
    lab.evaluate("B", cells(noise=0.01))
    lab.register()

    def judge_late(*arguments: Any) -> Judgement:
        found = judge(*arguments)
        with open_registry(lab.root, "pilot") as registry:
            registry.client.delete_registered_model_alias(NAME, "champion")
        return found

    judge = promotion._judge
    monkeypatch.setattr(promotion, "_judge", judge_late)
    with pytest.raises(MalariaError, match="somebody else promotes a model of made-up"):
        lab.promote()
    assert not lab.promotions("2")
    assert lab.aliases() == {"candidate": "2"}


def test_the_reference_can_stop_a_candidate(lab: Lab) -> None:
    git(lab.root, "tag", REFERENCE)
    lab.promote()
    lab.evaluate("a little worse", cells(loss=1.4))
    with open_registry(lab.root, "pilot") as registry:
        registry.client.delete_registered_model_alias(NAME, "champion")
    lab.evaluate("a little worse still", cells(loss=1.5))
    lab.register()
    found = lab.promote()
    assert (found.outcome, found.is_champion) == ("fail", False)
    assert "sensitivity against the reference" in found.reasons[0]


def test_only_the_evaluated_and_committed_candidate_is_promoted(lab: Lab) -> None:
    for reason in ("", "  ", "x" * 5001):
        with pytest.raises(MalariaError, match="--reason has"):
            lab.promote(reason)
    lab.evaluate("B", cells(noise=0.01), commit=False)
    with pytest.raises(MalariaError, match=r"pilot/dvc\.lock is not as HEAD has it; commit it"):
        lab.promote()
    lab.commit("B")
    with pytest.raises(MalariaError, match=r"the candidate, version 1 of made-up, has a model of"):
        lab.promote()
    with open_registry(lab.root, "pilot") as registry:
        registry.client.delete_registered_model_alias(NAME, "candidate")
    with pytest.raises(MalariaError, match=r"has no candidate; make one with `uv run malaria reg"):
        lab.promote()


def test_a_champion_without_its_artifacts_is_named(lab: Lab) -> None:
    lab.promote()
    lab.evaluate("B", cells(noise=0.01))
    lab.register()
    (gone,) = [
        path for path in (lab.root / "mlartifacts").rglob("model.keras") if path.read_text() == "A"
    ]
    shutil.rmtree(gone.parents[2])
    with pytest.raises(MalariaError, match=r"version 1 of made-up has no predictions to compare"):
        lab.promote()


def test_without_a_name_nobody_promotes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    git(lab.root, "config", "--unset", "user.email")
    with pytest.raises(MalariaError, match=r"Git knows no user\.name and user\.email"):
        lab.promote()
    assert lab.promote(by="Ada").is_champion


def test_a_server_keeps_them_and_one_that_is_away_is_one_sentence(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    with pytest.raises(
        MalariaError, match=r"the MLflow store http://127\.0\.0\.1:9 failed"
    ) as away:
        register(lab.root, "pilot")
    assert "secret" not in str(away.value)
    with mlflow_server(tmp_path) as (address, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert lab.register().is_new
        assert not lab.register().is_new
        assert lab.promote().is_champion
        lab.evaluate("worse", cells(loss=1.5))
        lab.register()
        assert lab.promote().outcome == "fail"  # with the champion's files from the server
        assert lab.aliases() == {"candidate": "2", "champion": "1"}
