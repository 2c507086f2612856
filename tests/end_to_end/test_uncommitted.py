"""A training that ended, but whose stage DVC did not commit: it is not trained again."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from .conftest import Checkout

OUTPUTS = ("models/model.keras", "reports/history.csv", "reports/train.json")
SEED = "77"


def train_runs(checkout: Checkout) -> list[Run]:
    client = MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("malaria-demo")
    wanted = f"tags.`malaria.stage` = 'train' and params.`train.seed` = '{SEED}'"
    return list(client.search_runs([experiment.experiment_id], wanted))


@pytest.mark.slow
def test_its_checkpoint_is_the_result_until_dvc_has_it(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    params, kept = checkout.demo / "params.yaml", checkout.root / ".dvc/tmp/checkpoints"
    assert not list(kept.glob("*"))  # a later stage deleted that of the committed training
    before, after = params.read_text().split("\ntrain:\n")
    params.write_text(f"{before}\ntrain:\n{after.replace('seed: 2018', f'seed: {SEED}', 1)}")

    # What a kill or a full cache leaves: the stage has ended, and dvc.lock knows nothing of it.
    stage = checkout.dvc("repro", "--single-item", "--no-commit", "train")
    assert "epoch 2  " in stage.stdout
    lock = checkout.root / "demo/dvc.lock"
    lock.write_bytes((finished.demo / "dvc.lock").read_bytes())
    whole = {name: (checkout.demo / name).read_bytes() for name in OUTPUTS}
    (run,) = train_runs(checkout)
    assert run.info.status == "FINISHED"
    (checkpoint,) = kept.glob("*")

    repeated = checkout.dvc("repro", "train").stdout
    assert "train: the checkpoint has all epochs" in repeated
    assert "epoch 1  " not in repeated
    assert {name: (checkout.demo / name).read_bytes() for name in OUTPUTS} == whole
    (again,) = train_runs(checkout)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert again.data.params == run.data.params
    assert again.data.metrics == run.data.metrics
    assert len(again.inputs.dataset_inputs) == len(run.inputs.dataset_inputs)
    assert checkpoint.exists()

    # Now DVC has it: a forced run trains, and the next stage deletes its checkpoint.
    forced = checkout.dvc("repro", "--force", "--single-item", "train").stdout
    assert "epoch 2  " in forced
    assert {name: (checkout.demo / name).read_bytes() for name in OUTPUTS} == whole
    assert list(kept.glob("*")) == [checkpoint]
    checkout.dvc("repro", "predict")
    assert not list(kept.glob("*"))
