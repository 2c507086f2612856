"""A repository in which models are made and evaluated in no time: real DVC, Git and MLflow."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from malaria.core.yaml_files import dump_yaml
from malaria.evaluation.metrics import compute_metrics, write_metrics
from malaria.gate.params import CAN_BE_GATED
from malaria.paths import CARD, CELLS, IMAGES, METRICS, MODEL, PARAMS, PREDICTIONS, ZIP
from malaria.pipeline.identity import identity_of_lock
from malaria.pipeline.stages import md5
from malaria.registry.promote import Promotion, promote
from malaria.registry.register import Registered, register
from malaria.registry.versions import TRAINING, open_registry
from malaria.tracking import store
from malaria.tracking.write import OUT
from tests.gate.locked import dvc
from tests.gate.test_judge import RULES, cells
from tests.git_repo import git

PIPELINE = f"""\
stages:
  preprocess:
    cmd: nothing
    deps: [cells.zip]
    outs: [{ZIP}, {CELLS}, {IMAGES}]
  evaluate:
    cmd: nothing
    deps: [{CELLS}, {IMAGES}]
    params: [evaluate]
    outs:
      - {MODEL}
      - {PREDICTIONS}: {{cache: false}}
      - {CARD}: {{cache: false}}
    metrics:
      - {METRICS}: {{cache: false}}
"""
NAME = "made-up"


class Lab:
    """The repository; its models are texts, its predictions those of the gate's tests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pilot = root / "pilot"

    def make(self) -> None:
        """Make the repository, and an empty store, which takes MLflow seconds."""
        texts = {"dvc.yaml": PIPELINE, CARD: "# Model card: made up\n"}
        texts |= {name: name for name in ("cells.zip", ZIP, CELLS, IMAGES)}
        for name, text in texts.items():
            (self.pilot / name).parent.mkdir(parents=True, exist_ok=True)
            (self.pilot / name).write_text(text)
        self.set_rules()
        (self.root / ".gitignore").write_text("mlflow.db*\nmlartifacts\ndata\nmodels\n")
        git(self.root, "init", "-q")
        git(self.root, "config", "user.name", "Ada")
        git(self.root, "config", "user.email", "ada@example.org")
        dvc(self.root, "init", "-q")
        dvc(self.pilot, "init", "-q", "--subdir")
        MlflowClient(f"sqlite:///{self.root}/mlflow.db").search_experiments()

    def set_rules(self, margin: float = 0.05, floor: float | str = "none") -> None:
        metrics = {metric: {"margin": margin, "floor": floor} for metric in CAN_BE_GATED}
        sections = {"evaluate": {"threshold": "fixed_0.5"}, "mlflow": {"experiment": NAME}}
        sections |= {"gate": RULES | {"metrics": metrics}}
        (self.pilot / PARAMS).write_text(dump_yaml(sections))

    def evaluate(self, model: str, predictions: pd.DataFrame, commit: bool = True) -> None:
        """Leave a model and its predictions, as if the stages had run."""
        (self.pilot / "models").mkdir(exist_ok=True)
        (self.pilot / MODEL).unlink(missing_ok=True)  # a link into the cache
        (self.pilot / MODEL).write_text(model)
        predictions.to_csv(self.pilot / PREDICTIONS, index=False)
        metrics = {
            split: compute_metrics(predictions[predictions["split"] == split], 0.5)
            for split in ("val", "test")
        }
        write_metrics(metrics, {}, self.pilot / METRICS)
        dvc(self.pilot, "commit", "--force")
        if commit:
            self.commit(model)

    def commit(self, message: str) -> None:
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", message)

    def log(self) -> str:
        """Make a row and a training's run in MLflow, as live logging would; return the latter."""
        client, experiment = store.open_store(self.root, NAME)
        identity = identity_of_lock(self.pilot)
        row = store.find_row(client, experiment, identity)
        if row is None:
            tags = {store.STAGE: store.EXPERIMENT_ROW, store.IDENTITY: identity}
            row = client.create_run(experiment, tags=tags).info.run_id
        tags = {store.STAGE: "train", f"{OUT}pilot/{MODEL}": md5(self.pilot / MODEL)}
        train = str(client.create_run(experiment, tags=tags).info.run_id)
        client.set_tag(row, TRAINING, train)
        return train

    def register(self) -> Registered:
        with store.http_limit(store.UPLOAD_LIMIT_S):
            self.log()
        return register(self.root, "pilot")

    def register_new(self, model: str, predictions: pd.DataFrame) -> None:
        self.evaluate(model, predictions)
        assert self.register().is_new

    def promote(self, reason: str = "it is better", **options: Any) -> Promotion:
        return promote(self.root, "pilot", reason, **options)

    def back_to(self, commit: str) -> None:
        git(self.root, "checkout", "-q", commit)
        dvc(self.pilot, "checkout", "--force")

    def tags(self, version: str) -> dict[str, str]:
        with open_registry(self.root, "pilot") as registry:
            return next(dict(one.tags) for one in registry.versions() if one.number == version)

    def aliases(self) -> dict[str, str]:
        with open_registry(self.root, "pilot") as registry:
            (found,) = registry.client.search_registered_models()
        return {alias: str(number) for alias, number in found.aliases.items()}

    def delete_alias(self, alias: str) -> None:
        with open_registry(self.root, "pilot") as registry:
            registry.client.delete_registered_model_alias(NAME, alias)


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A repository with one evaluated model, for `lab` to copy."""
    lab = Lab(tmp_path_factory.mktemp("evaluated") / "repo")
    lab.make()
    lab.evaluate("A", cells())
    return lab


@pytest.fixture
def lab(evaluated: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A repository with one evaluated model, which is registered."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    lab = Lab(shutil.copytree(evaluated.root, tmp_path / "repo"))
    lab.register()
    return lab
