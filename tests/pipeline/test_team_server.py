"""A team's server, of real parts, on this machine: it is cut off, brought back, and searched."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import boto3
import psutil
import pytest
import requests
from botocore.exceptions import ClientError
from mlflow import MlflowClient, artifacts
from mlflow.entities import Run
from mlflow.server.auth.client import AuthServiceClient

from malaria.child import HERE, find_port
from malaria.entry import read_entries

from .conftest import REPO, Checkout, write_params
from .test_commands import malaria
from .test_sync import left_out, sync

pytestmark = pytest.mark.slow
EPOCHS = 40  # enough that a training is under way when the server is cut off
PLANTED = token_hex(8)  # drawn, as this file lies in the checkout that is searched
SECRETS = {
    "MLFLOW_AUTH_ADMIN_PASSWORD": f"admin-{PLANTED}",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": f"session-{PLANTED}",
    "TEAM_DATABASE_PASSWORD": f"data'ba%se-{PLANTED}",
    "TEAM_MLFLOW_S3_SECRET": f"mlflow-bucket-{PLANTED}",
    "TEAM_DVC_S3_SECRET": f"dvc-bucket-{PLANTED}",
}
USERS = {"ada": f"ada-{PLANTED}", "bob": f"bob-{PLANTED}"}
LIMIT_S = 300


class Team:
    """The script on one data folder, started and stopped as a user would."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self._logs = logs
        self.port, self.database = find_port(HERE, [0]), find_port(HERE, [0])
        self.storage = next(port for port in range(20000, 60000, 8) if _are_free(port))
        self.address = f"http://{HERE}:{self.port}"
        self.process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        """What it has printed since it was started first."""
        return self._logs.read_text()

    def start(self) -> None:
        before = self.output.count("Ctrl-C stops all") if self._logs.exists() else 0
        with self._logs.open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-u", "scripts/team_server.py", "start", str(self.folder)),
                    *("--port", str(self.port), "--storage-port", str(self.storage)),
                    *("--database-port", str(self.database)),
                ],
                cwd=REPO,
                env=os.environ | SECRETS,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + LIMIT_S
        while self.output.count("Ctrl-C stops all") == before:
            if self.process.poll() is not None:
                if " is not installed" in self.output:
                    pytest.skip(self.output)
                pytest.fail(self.output)
            assert time.monotonic() < deadline, self.output
            time.sleep(0.2)

    def kill_mlflow(self) -> int:
        """Kill MLflow with all its processes and return the exit code of the script."""
        children = psutil.Process(self.process.pid).children()
        (mlflow,) = [child for child in children if "mlflow" in child.cmdline()]
        os.killpg(mlflow.pid, signal.SIGKILL)
        return self.process.wait(LIMIT_S)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def as_user(self, name: str) -> dict[str, str]:
        """Return the environment of somebody who trains."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": USERS[name],
            "AWS_ACCESS_KEY_ID": "dvc",
            "AWS_SECRET_ACCESS_KEY": SECRETS["TEAM_DVC_S3_SECRET"],
        }

    def s3(self, user: str) -> Any:
        """Return a client of the storage."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://{HERE}:{self.storage}",
            region_name="us-east-1",
            aws_access_key_id=user,
            aws_secret_access_key=SECRETS[f"TEAM_{user.upper()}_S3_SECRET"],
        )


def _are_free(first: int) -> bool:
    try:
        return all(find_port(HERE, [port]) for port in range(first, first + 8))
    except Exception:
        return False


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    # Not below pytest's folder, which PostgreSQL's own user cannot enter.
    with tempfile.TemporaryDirectory(prefix="team-") as folder:
        Path(folder).chmod(0o755)
        running = Team(Path(folder), tmp_path_factory.mktemp("team") / "output")
        running.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"])
            for name, word in USERS.items():
                AuthServiceClient(running.address).create_user(name, word)
        yield running
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert running.stop() == 0
        assert not any(child.is_running() for child in children)


@pytest.fixture(scope="module")
def ada(team: Team) -> Iterator[MlflowClient]:
    """The MLflow of a user, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in team.as_user("ada").items():
            patch.setenv(name, value)
        yield MlflowClient(team.address)


@pytest.fixture(scope="module")
def checkout(team: Team, finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A finished demo, with a long training still to come, and a user's environment."""
    copy = finished.copy(tmp_path_factory.mktemp("checkout"))
    write_params(copy.demo / "params.yaml", {"train": {"epochs": EPOCHS}})
    for path in (copy.root / "pilot").glob("dvc.lock"):
        path.unlink()  # it never ran here
    copy.env |= team.as_user("ada") | {"PYTHONUNBUFFERED": "1"}
    copy.env["MLFLOW_HTTP_REQUEST_TIMEOUT"] = (
        "60"  # a busy machine's server is not one that is away
    )
    copy.dvc("remote", "add", "--default", "team", "s3://dvc")
    copy.dvc("remote", "modify", "team", "endpointurl", f"http://{HERE}:{team.storage}")
    return copy


@pytest.fixture(scope="module")
def cut_off(team: Team, checkout: Checkout) -> str:
    """What DVC printed while the server was killed in the middle of a training; it is back.

    Before, a first stage was logged as a whole.
    """
    checkout.dvc("repro", "--force", "--single-item", "demo/dvc.yaml:split")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "demo/dvc.yaml"],
        cwd=checkout.root,
        env=checkout.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch 2 "):
            break
    assert not has_secret("\n".join(command_lines()).encode())
    assert team.kill_mlflow() == 1
    rest, _ = process.communicate(timeout=LIMIT_S)
    output = "".join(lines) + rest
    assert process.returncode == 0, output
    team.start()
    return output


@pytest.fixture(scope="module")
def live(checkout: Checkout, cut_off: str, ada: MlflowClient) -> Run:
    """The training's run as it was left, before it was synced."""
    (run,) = [run for run in runs_of(ada) if run.data.tags["malaria.stage"] == "train"]
    assert left_out(sync(checkout)) == []
    return run


def command_lines() -> Iterator[str]:
    for process in psutil.process_iter(["cmdline"]):
        yield " ".join(process.info["cmdline"] or [])


def has_secret(content: bytes) -> bool:
    """Return whether any of the secrets stands there: they all end alike."""
    return PLANTED.encode() in content


def runs_of(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("malaria-demo")
    return list(client.search_runs([experiment.experiment_id]))


def test_a_training_goes_on_without_its_server(
    team: Team, checkout: Checkout, cut_off: str
) -> None:
    stages = ("train", "evaluate", "explain", "report")
    for stage in stages:
        assert cut_off.count(f"{stage} goes on and logs nothing more") == 1
    assert cut_off.count(f"mlflow: {team.address} failed") == len(stages)
    assert "Traceback" not in cut_off
    assert len((checkout.demo / "reports/history.csv").read_text().splitlines()) == 1 + EPOCHS
    assert re.search(
        r"^team_server: MLflow has ended \(exit code -9\), so all is stopped; see .*: nothing is "
        r"lost\.$",
        team.output,
        re.MULTILINE,
    )


def test_nothing_is_lost_and_nothing_double(
    checkout: Checkout, live: Run, ada: MlflowClient, tmp_path: Path
) -> None:
    assert (live.info.status, live.data.metrics["epoch"] < EPOCHS) == ("RUNNING", True)
    for done in (sync(checkout)[kind] for kind in ("runs", "rows")):
        assert (done["made"], done["completed"]) == (0, 0)
    runs = runs_of(ada)
    assert {run.info.status for run in runs} == {"FINISHED"}
    lock = (checkout.demo / "dvc.lock").read_bytes()
    entries = read_entries(lock, "demo", "demo/dvc.lock")
    by_entry = Counter(run.data.tags.get("malaria.entry") for run in runs)
    assert by_entry == Counter([entry.digest for entry in entries.values()] + [None])
    by_stage = {run.data.tags["malaria.stage"]: run for run in runs}
    (row,) = [run for run in runs if run.data.tags["malaria.stage"] == "experiment"]
    assert row.data.params["train.epochs"] == str(EPOCHS)
    assert by_stage["train"].info.run_id == live.info.run_id
    assert "malaria.rebuilt" not in by_stage["split"].data.tags
    for name in ("epoch", "loss", "val_loss", "learning_rate"):
        steps = [metric.step for metric in ada.get_metric_history(live.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1))

    evaluate = by_stage["evaluate"]
    assert evaluate.info.artifact_uri.startswith("mlflow-artifacts:/")  # by the server alone
    for name in ("metrics.json", "evaluation.png"):
        path = Path(ada.download_artifacts(evaluate.info.run_id, name, str(tmp_path)))
        assert path.read_bytes() == (checkout.demo / "reports" / name).read_bytes()
    (model,) = ada.search_logged_models([row.info.experiment_id])
    folder = artifacts.download_artifacts(
        f"models:/{model.model_id}",
        dst_path=str(tmp_path),
        tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
    )
    trained = (checkout.demo / "models/model.keras").read_bytes()
    assert Path(folder, "data/model.keras").read_bytes() == trained


def test_a_second_clone_makes_no_run_more(
    checkout: Checkout, live: Run, ada: MlflowClient, tmp_path: Path
) -> None:
    checkout.dvc("push", "demo/dvc.yaml")
    checkout.commit("results")
    checkout.run("git", "clone", "-q", str(checkout.root), str(tmp_path / "clone"))
    clone = Checkout(tmp_path / "clone", checkout.env)
    before = {run.info.run_id for run in runs_of(ada)}
    clone.dvc("pull", "demo/dvc.yaml")
    model = (clone.demo / "models/model.keras").read_bytes()
    assert model == (checkout.demo / "models/model.keras").read_bytes()
    synced = sync(clone)
    assert (synced["runs"]["made"], synced["rows"]["made"]) == (0, 0)
    assert {run.info.run_id for run in runs_of(ada)} == before


def test_a_wrong_password_is_one_sentence(checkout: Checkout, live: Run) -> None:
    result = malaria(checkout, "sync", check=False, MLFLOW_TRACKING_PASSWORD=f"wrong-{PLANTED}")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in result.stderr
    assert not has_secret(result.stderr.encode())


def test_a_user_who_may_only_read(
    team: Team, checkout: Checkout, live: Run, ada: MlflowClient, tmp_path: Path
) -> None:
    copy = checkout.copy(tmp_path)
    copy.env |= team.as_user("bob")
    write_params(copy.demo / "params.yaml", {"evaluate": {"threshold": "fixed_0.5"}})
    before = {run.info.run_id for run in runs_of(ada)}
    result = copy.dvc("repro", "demo/dvc.yaml:evaluate")
    assert (result.stdout + result.stderr).count("evaluate goes on and logs nothing more") == 1
    result = malaria(copy, "sync", check=False)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "give you EDIT on it (docs/team_server.md)" in result.stderr
    assert {run.info.run_id for run in runs_of(ada)} == before
    experiment = ada.get_experiment_by_name("malaria-demo").experiment_id
    AuthServiceClient(team.address).grant_user_permission("bob", "experiment", experiment, "EDIT")
    assert sync(copy)["rows"]["made"] == 1


def test_nobody_gets_in_without_a_name(team: Team) -> None:
    runs = f"{team.address}/api/2.0/mlflow/experiments/search?max_results=1"
    assert requests.get(runs, timeout=60).status_code == 401
    elsewhere = requests.get(runs, headers={"Host": "elsewhere.example.org"}, timeout=60)
    assert (elsewhere.status_code, "Invalid Host header" in elsewhere.text) == (403, True)
    for bucket in ("mlflow", "dvc"):
        address = f"http://{HERE}:{team.storage}/{bucket}"
        assert requests.get(address, timeout=60).status_code == 403
    with pytest.raises(ClientError, match="AccessDenied"):
        team.s3("dvc").list_objects_v2(Bucket="mlflow")
    for connection in psutil.net_connections("tcp"):
        ours = {team.port, team.database, *range(team.storage, team.storage + 8)}
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ours:
            assert connection.laddr.ip == HERE


def test_no_secret_is_stored_printed_or_shown(
    team: Team, checkout: Checkout, cut_off: str, live: Run
) -> None:
    places = {"output": team.output.encode(), "dvc": cut_off.encode()}
    places |= {line: line.encode() for line in command_lines()}
    for root in (team.folder, checkout.root):
        files = [path for path in root.rglob("*") if path.is_file() and path.name != "s3.json"]
        places |= {str(path): path.read_bytes() for path in files}
    for database in ("mlflow", "mlflow_auth"):
        places[database] = dump(team, database)
    for bucket in ("mlflow", "dvc"):
        client = team.s3(bucket)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                body = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                places[f"s3://{bucket}/{item['Key']}"] = body
    assert [place for place, content in places.items() if has_secret(content)] == []
    # What was searched holds what it should: runs, users, artifacts, logs.
    assert b"test.roc_auc" in places["mlflow"]
    assert b"ada" in places["mlflow_auth"]
    assert any(place.endswith("/data/model.keras") for place in places)
    assert b"POST /api/2.0/mlflow/runs" in places[str(team.folder / "logs/mlflow.before.log")]
    assert (team.folder / "storage/s3.json").stat().st_mode & 0o777 == 0o600


def dump(team: Team, database: str) -> bytes:
    program = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), default="pg_dump")
    command = [str(program), "-h", HERE, "-p", str(team.database), "-U", "mlflow", database]
    env = os.environ | {"PGPASSWORD": SECRETS["TEAM_DATABASE_PASSWORD"]}
    return subprocess.run(command, env=env, capture_output=True, check=True).stdout
