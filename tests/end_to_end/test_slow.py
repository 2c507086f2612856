"""What takes long: training twice, queues, a server that dies, a process that is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from malaria.core.yaml_files import read_yaml
from tests.mlflow_server import mlflow_server
from tests.test_house import STAGES

from .conftest import Checkout, NewCheckout
from .test_commands import malaria

pytestmark = pytest.mark.slow
MODELS = ("cnn_se", "cnn_leaky")
LONG = 400  # epochs: enough that a training is certainly under way when it is disturbed


def rows(checkout: Checkout, stage: str) -> list[Run]:
    client = MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("malaria-demo")
    return list(client.search_runs([experiment.experiment_id], f"tags.`malaria.stage` = '{stage}'"))


def set_epochs(checkout: Checkout, epochs: int) -> None:
    params = checkout.demo / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 2", f"epochs: {epochs}"))


def start_training(checkout: Checkout, **env: str) -> "subprocess.Popen[str]":
    """Start the train stage as DVC would, and return when its second epoch has been printed."""
    process = subprocess.Popen(
        [sys.executable, "-u", "stages", "train"],
        cwd=checkout.demo,
        env=checkout.env | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2 "):
            return process
    pytest.fail("the training ended before its second epoch")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start a real MLflow server and return its address and process."""
    with mlflow_server(tmp_path) as started:
        yield started


def test_two_clones_end_with_the_same_bytes_and_one_logs_all_on_a_server(
    finished: Checkout, new_checkout: NewCheckout, server: tuple[str, "subprocess.Popen[str]"]
) -> None:
    address, _ = server
    other = new_checkout("other")
    printed = other.dvc("repro", MLFLOW_TRACKING_URI=address)
    assert "mlflow:" not in printed.stdout + printed.stderr
    locks = [read_yaml(checkout.demo / "dvc.lock") for checkout in (finished, other)]
    hashes = [
        {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
        for lock in locks
    ]
    assert "models/model.keras" in hashes[0]
    assert hashes[0] == hashes[1]
    assert locks[0] == locks[1]

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("malaria-demo")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + len(STAGES)
    assert {run.info.status for run in runs} == {"FINISHED"}
    train = next(run for run in runs if run.data.tags["malaria.stage"] == "train")
    names = {item.path for item in client.list_artifacts(train.info.run_id)}
    assert names == {"history.csv", "lock.yaml", "models", "train.json"}


def test_queued_experiments_use_their_own_library_and_one_store_and_are_collected(
    finished: Checkout, tmp_path: Path
) -> None:
    checkout = finished.copy(tmp_path)
    checkout.commit("results")
    before = {run.info.run_id for run in rows(checkout, "experiment")}
    models = f"train.model={','.join(MODELS)}"
    checkout.dvc("exp", "run", "--queue", "evaluate", "-S", models, "--name", "of")
    # What comes after queueing must not reach the queued experiments.
    library = checkout.root / "malaria/prediction/predict.py"
    library.write_text("raise RuntimeError('the workspace is imported')\n")
    checkout.dvc("queue", "start", "--jobs", "2")
    wait_for_queue(checkout, 2)

    made = [run for run in rows(checkout, "experiment") if run.info.run_id not in before]
    assert sorted(run.data.params["train.model"] for run in made) == sorted(MODELS)
    assert all("test.accuracy" in run.data.metrics for run in made)
    assert {run.info.status for run in made} == {"FINISHED"}
    shown = checkout.dvc("exp", "show", "--csv").stdout
    names = {run.data.tags["dvc.experiment"] for run in made}
    assert len(names) == 2
    assert all(name in shown for name in names)
    assert "test.accuracy" in shown.splitlines()[0]

    checkout.run("git", "checkout", "-q", "malaria/prediction/predict.py")
    written = malaria(checkout, "collect", "--folder", "demo").stdout.split()
    trained = [read_yaml(checkout.root / folder / "params.yaml")["train"] for folder in written]
    assert sorted(params["model"] for params in trained) == sorted(MODELS)
    for folder in written:
        metrics = json.loads((checkout.root / folder / "metrics.json").read_text())
        assert 0 <= metrics["test"]["accuracy"] <= 1
    checked = malaria(checkout, "lock-check", "demo").stdout
    assert "demo/experiments: ok\n" in checked
    predictions = checkout.root / written[0] / "predictions.csv"
    predictions.write_text(predictions.read_text().replace(",0,", ",1,", 1))
    told = malaria(checkout, "lock-check", "demo", check=False)
    assert told.returncode == 1
    assert f"{written[0]}/predictions.csv is not what {written[0]}/dvc.lock records" in told.stdout


def wait_for_queue(checkout: Checkout, expected: int, limit_s: float = 400) -> None:
    """Return when no task is left; all of them have to succeed."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        status = checkout.dvc("queue", "status").stdout
        if "Running" not in status and "Queued" not in status:
            break
        time.sleep(3)
    assert status.count("Success") == expected, status + queue_logs(checkout)


def queue_logs(checkout: Checkout) -> str:
    names = checkout.dvc("queue", "status").stdout.split()
    return "".join(
        checkout.dvc("queue", "logs", name, check=False).stdout for name in names if len(name) == 7
    )


def test_a_server_that_dies_mid_training_costs_no_output(
    finished: Checkout, tmp_path: Path, server: tuple[str, "subprocess.Popen[str]"]
) -> None:
    address, process = server
    checkout = finished.copy(tmp_path)
    set_epochs(checkout, 40)
    training = start_training(checkout, MLFLOW_TRACKING_URI=address)
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("malaria-demo")
    runs = client.search_runs([experiment.experiment_id], "tags.`malaria.stage` = 'train'")
    assert runs[0].data.metrics["val_loss"] > 0  # live: there while the training goes on
    os.killpg(process.pid, signal.SIGKILL)
    output, _ = training.communicate(timeout=300)
    assert training.returncode == 0, output
    assert output.count(f"mlflow: {address} failed") == 1
    assert "Traceback" not in output
    history = (checkout.demo / "reports/history.csv").read_text().splitlines()
    assert len(history) == 1 + 40
    assert (checkout.demo / "models/model.keras").stat().st_mtime > training_start(checkout)


def training_start(checkout: Checkout) -> float:
    """Return when the last params were written, which is before the training."""
    return (checkout.demo / "params.yaml").stat().st_mtime


def test_a_stopped_training_is_a_killed_run(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    set_epochs(checkout, LONG)
    training = start_training(checkout)
    training.terminate()
    output, _ = training.communicate(timeout=60)
    assert training.returncode == 130
    assert "Traceback" not in output
    run = rows(checkout, "train")[0]
    assert run.info.status == "KILLED"


def test_after_a_killed_training_the_pipeline_runs_again(
    finished: Checkout, tmp_path: Path
) -> None:
    checkout = finished.copy(tmp_path)
    set_epochs(checkout, LONG)
    training = start_training(checkout)
    training.kill()
    training.communicate(timeout=60)
    set_epochs_back = checkout.demo / "params.yaml"
    set_epochs_back.write_text(set_epochs_back.read_text().replace(f"epochs: {LONG}", "epochs: 3"))
    checkout.dvc("repro", "train")
    assert len((checkout.demo / "reports/history.csv").read_text().splitlines()) == 1 + 3
    assert not list((checkout.demo / "data").glob(".features-*"))
