"""A training that is killed from outside: what goes on, and that it ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML

from .conftest import Checkout

pytestmark = pytest.mark.slow
EPOCHS = 8
OUTPUTS = ("models/model.keras", "reports/history.csv", "reports/train.json")


@pytest.fixture(scope="module")
def long_demo(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A demo whose training is long enough to be killed, and large enough to take time to write.

    It augments, drops units out and lowers its learning rate, so that all of it has to go on.
    """
    checkout = finished.copy(tmp_path_factory.mktemp("killed"))
    yaml = YAML()
    params = yaml.load(checkout.demo / "params.yaml")
    params["preprocess"]["size"] = 48
    params["train"]["epochs"] = EPOCHS
    params["augment"] |= {"rotation_range": 30, "horizontal_flip": True}
    yaml.dump(params, checkout.demo / "params.yaml")
    checkout.dvc("repro", "preprocess")
    return checkout


@pytest.fixture(scope="module")
def whole(long_demo: Checkout, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outputs of a training that nobody disturbed."""
    checkout = long_demo.copy(tmp_path_factory.mktemp("whole"))
    checkout.dvc("repro", "train")
    return outputs(checkout)


@pytest.fixture(scope="module")
def killed(long_demo: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A training that was killed after its third epoch; tests take copies."""
    checkout = long_demo.copy(tmp_path_factory.mktemp("after"))
    kill_when(checkout, "*.npz", 3)
    return checkout


def outputs(checkout: Checkout) -> dict[str, bytes]:
    return {name: (checkout.demo / name).read_bytes() for name in OUTPUTS}


def checkpoints(checkout: Checkout) -> list[Path]:
    return list((checkout.root / ".dvc/tmp/checkpoints").glob("*"))


def train_runs(checkout: Checkout) -> list[Run]:
    """Return the train stage's runs of the pipeline with the long training."""
    client = MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("malaria-demo")
    wanted = f"tags.`malaria.stage` = 'train' and params.`train.epochs` = '{EPOCHS}'"
    return list(client.search_runs([experiment.experiment_id], wanted))


def start(checkout: Checkout) -> "subprocess.Popen[bytes]":
    """Start `dvc repro` as the leader of a group that can be killed as a whole."""
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "train"],
        cwd=checkout.demo,
        env=checkout.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_when(checkout: Checkout, pattern: str, count: int) -> None:
    """Kill DVC and its stage when a file like `pattern` is there for the `count`-th time."""
    process = start(checkout)
    folder = checkout.root / ".dvc/tmp/checkpoints"
    times, before = 0, 0.0
    deadline = time.monotonic() + 300
    while times < count:
        assert process.poll() is None, "the training ended before it was killed"
        assert time.monotonic() < deadline
        written = [path.stat().st_mtime for path in folder.glob("*.npz")]
        # A draft is another one when it was away; a whole one when its time is another.
        now = max(written, default=0.0) if pattern == "*.npz" else float(any(folder.glob(pattern)))
        times += now > before
        before = now
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("*.npz", 1), ("*.npz", 4), ("*.tmp", 1), ("*.tmp", 5), ("*.npz", EPOCHS)],
    ids=["after the first", "in the middle", "in the first write", "in a write", "after the last"],
)
def test_it_goes_on_and_ends_with_the_same_bytes(
    long_demo: Checkout, whole: dict[str, bytes], tmp_path: Path, pattern: str, count: int
) -> None:
    checkout = long_demo.copy(tmp_path)
    kill_when(checkout, pattern, count)
    done = len([path for path in checkpoints(checkout) if path.suffix == ".npz"])
    output = checkout.dvc("repro", "train").stdout
    assert outputs(checkout) == whole
    epochs = [int(line.split()[1]) for line in output.splitlines() if line.startswith("epoch ")]
    assert epochs == list(range(EPOCHS + 1 - len(epochs), EPOCHS + 1))
    assert (len(epochs) < EPOCHS) == bool(done)


def test_the_same_run_goes_on(killed: Checkout, tmp_path: Path) -> None:
    checkout = killed.copy(tmp_path)
    (before,) = train_runs(checkout)
    assert before.info.status == "RUNNING"  # nobody was left to say otherwise
    checkout.dvc("repro", "train")
    (run,) = train_runs(checkout)
    assert run.info.run_id == before.info.run_id
    assert run.info.status == "FINISHED"
    client = MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_loss")]
    assert steps == list(range(1, EPOCHS + 1))


@pytest.mark.parametrize(
    "change", ["a param of training", "the data", "the code", "a damaged checkpoint"]
)
def test_what_is_not_the_same_training_begins_anew(
    killed: Checkout, tmp_path: Path, change: str
) -> None:
    checkout = killed.copy(tmp_path)
    (checkpoint,) = [path for path in checkpoints(checkout) if path.suffix == ".npz"]
    params = checkout.demo / "params.yaml"
    if change == "a param of training":
        params.write_text(params.read_text().replace("keep: best", "keep: last"))
    elif change == "the data":
        params.write_text(params.read_text().replace("size: 48", "size: 40"))
    elif change == "the code":
        with (checkout.root / "malaria/training/recipe.py").open("a") as file:
            file.write("# changed\n")
    else:
        content = checkpoint.read_bytes()
        checkpoint.write_bytes(content[: len(content) // 2])
    result = checkout.dvc("repro", "train")
    assert "epoch 1  " in result.stdout
    assert (f"{checkpoint} is damaged" in result.stderr) == (change == "a damaged checkpoint")
    assert len(checkpoints(checkout)) == (1 if change == "a damaged checkpoint" else 2)
