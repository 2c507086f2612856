"""Real processes that train one model together, on JAX, on the CPU."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import keras
import numpy as np
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from malaria.training.cluster import ADDRESS, PROCESS, PROCESSES

from .conftest import Checkout

pytestmark = pytest.mark.slow
EPOCHS = 6
LIMIT_S = 300
TWO_DEVICES = "--xla_force_host_platform_device_count=2"


@pytest.fixture(scope="module")
def base(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A demo that augments, drops units out and lowers its rate; its data are made."""
    checkout = finished.copy(tmp_path_factory.mktemp("cluster"))
    change(checkout, epochs=EPOCHS, batch_size=30)
    path = checkout.demo / "params.yaml"
    yaml = YAML()
    params = yaml.load(path)
    params["split"]["seed"] = 1  # 92 cells to train on: two devices leave none out
    params["augment"] |= {"rotation_range": 30, "horizontal_flip": True}
    yaml.dump(params, path)
    checkout.dvc("repro", "split")
    checkout.env |= {"KERAS_BACKEND": "jax"}
    return checkout


@pytest.fixture(scope="module")
def on_two_devices(base: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The same training by one process with two devices."""
    checkout = base.copy(tmp_path_factory.mktemp("devices"))
    output = checkout.dvc("repro", "train", XLA_FLAGS=TWO_DEVICES).stdout
    assert "on 2 x cpu\n" in output
    return checkout


def change(checkout: Checkout, **values: object) -> None:
    path = checkout.demo / "params.yaml"
    yaml = YAML()
    params = yaml.load(path)
    params["train"].update(values)
    yaml.dump(params, path)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Two:
    """DVC with the first process, and the second one beside it."""

    def __init__(self, first: Checkout, second: Checkout, logs: Path) -> None:
        address = f"127.0.0.1:{free_port()}"
        logs.mkdir()
        self._logs = [logs / "0", logs / "1"]
        dvc = [sys.executable, "-m", "dvc", "repro", "train"]
        train = [sys.executable, "stages", "train"]
        self.processes = [
            subprocess.Popen(
                command,
                cwd=cwd,
                env=first.env | {ADDRESS: address, PROCESSES: "2", PROCESS: str(number)},
                stdout=self._open(number),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for number, (command, cwd) in enumerate([(dvc, first.demo), (train, second.demo)])
        ]

    def wait(self) -> tuple[str, str]:
        """Return what both said; they must have succeeded."""
        codes = [process.wait(LIMIT_S) for process in self.processes]
        assert codes == [0, 0], "\n".join(self.said())
        first, second = self.said()
        return first, second

    def said(self) -> list[str]:
        return [log.read_text() for log in self._logs]

    def kill(self, number: int) -> None:
        os.killpg(self.processes[number].pid, signal.SIGKILL)
        self.processes[number].wait()

    def _open(self, number: int) -> IO[bytes]:
        return self._logs[number].open("wb")


def weights(checkout: Checkout) -> list[np.ndarray]:
    model = keras.models.load_model(checkout.demo / "models/model.keras")
    return list(model.get_weights())


def digests(output: str) -> list[str]:
    return re.findall(r"train: weights (\w+), process \d of 2", output)


def test_two_processes_end_with_the_same_weights(
    base: Checkout, on_two_devices: Checkout, tmp_path: Path
) -> None:
    checkout = base.copy(tmp_path)
    first, second = Two(checkout, checkout, tmp_path / "logs").wait()
    assert len(digests(first)) == 1
    assert digests(first) == digests(second)
    assert "on 2 x cpu, process 1 of 2" in first
    # The weights are those of one process with two devices, which were learned: they moved.
    pairs = list(zip(weights(checkout), weights(on_two_devices), strict=True))
    assert all(np.array_equal(a, b) for a, b in pairs)
    moved = list(zip(weights(checkout), weights(base), strict=True))
    assert not any(np.array_equal(a, b) for a, b in moved)

    # One alone wrote and logged.
    assert [line for line in second.splitlines() if line.startswith("epoch ")] == []
    assert len([line for line in first.splitlines() if line.startswith("epoch ")]) == EPOCHS
    client = MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("malaria-demo")
    wanted = f"tags.`malaria.stage` = 'train' and params.`train.epochs` = '{EPOCHS}'"
    (run,) = client.search_runs([experiment.experiment_id], wanted)
    assert run.info.status == "FINISHED"
    assert run.data.params["resolved.devices"] == "2"
    steps = [item.step for item in client.get_metric_history(run.info.run_id, "val_loss")]
    assert steps == list(range(1, EPOCHS + 1))
    assert checkout.dvc("status", "train").stdout.endswith("up to date.\n")


def test_a_lost_process_ends_the_training_and_all_go_on(
    base: Checkout, on_two_devices: Checkout, tmp_path: Path
) -> None:
    checkout = base.copy(tmp_path)
    folder = checkout.root / ".dvc/tmp/checkpoints"
    two = Two(checkout, checkout, tmp_path / "logs")
    wait_until(lambda: any(folder.glob("*.npz")), two)
    two.kill(1)
    wait_until(lambda: "another process of this training is lost" in two.said()[0], two)
    assert "start all of them again" in two.said()[0]
    assert "Traceback" not in two.said()[0]
    two.kill(0)  # JAX would wait for the lost one
    first, second = Two(checkout, checkout, tmp_path / "again").wait()
    assert digests(first) == digests(second)
    epochs = [line for line in first.splitlines() if line.startswith("epoch ")]
    assert 0 < len(epochs) < EPOCHS
    pairs = list(zip(weights(checkout), weights(on_two_devices), strict=True))
    assert all(np.array_equal(a, b) for a, b in pairs)


def wait_until(condition: "Callable[[], bool]", two: Two) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "\n".join(two.said())
        time.sleep(0.02)


@pytest.mark.parametrize("other", ["params", "checkpoint"])
def test_processes_that_would_not_do_the_same_say_so(
    base: Checkout, tmp_path: Path, other: str
) -> None:
    first, second = base.copy(tmp_path / "first"), base.copy(tmp_path / "second")
    if other == "params":
        change(second, learning_rate=0.5)
        said = "the processes have different params, code, data or package versions"
    else:
        two = Two(first, first, tmp_path / "before")
        wait_until(lambda: any((first.root / ".dvc/tmp/checkpoints").glob("*.npz")), two)
        two.kill(1)
        two.kill(0)
        said = "the processes do not see the same checkpoint"
    two = Two(first, second, tmp_path / "logs")
    codes = [process.wait(LIMIT_S) for process in two.processes]
    assert 0 not in codes
    for log in two.said():
        assert said in log
        assert "epoch " not in log


def test_data_parallel_wants_a_second_device(base: Checkout, tmp_path: Path) -> None:
    checkout = base.copy(tmp_path)
    change(checkout, distribution="data_parallel")
    result = checkout.dvc("repro", "train", check=False)
    assert result.returncode != 0
    assert "JAX sees one cpu" in result.stderr
    assert "Traceback" not in result.stderr
    change(checkout, batch_size=31)
    result = checkout.dvc("repro", "train", check=False, XLA_FLAGS=TWO_DEVICES)
    assert "train.batch_size is 31, but 2 devices share a batch equally" in result.stderr


def test_one_and_two_devices_learn_the_same(
    base: Checkout, on_two_devices: Checkout, tmp_path: Path
) -> None:
    checkout = base.copy(tmp_path)
    change(checkout, distribution="single")
    checkout.dvc("repro", "train", XLA_FLAGS=TWO_DEVICES)
    for one, two in zip(weights(checkout), weights(on_two_devices), strict=True):
        assert np.abs(one - two).max() < 1e-3


@pytest.mark.parametrize(
    ("stage", "command"),
    [("split", ["stages", "split"]), ("train", ["-m", "dvc", "repro", "-f", "-s", "train"])],
)
def test_a_second_process_only_trains_and_without_dvc(
    base: Checkout, tmp_path: Path, stage: str, command: list[str]
) -> None:
    checkout = base.copy(tmp_path)
    environ = {ADDRESS: "127.0.0.1:1", PROCESSES: "2", PROCESS: "1"}
    result = checkout.run(sys.executable, *command, cwd=checkout.demo, check=False, **environ)
    assert result.returncode != 0
    assert f"{stage}: {PROCESS} is 1, and only the first process runs" in result.stderr
    assert "python stages train" in result.stderr
    assert "Traceback" not in result.stderr
