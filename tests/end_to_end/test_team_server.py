"""A team's server, of real parts, on this machine: it is cut off, brought back, and searched."""

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import pytest
import requests
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

from benchmarks.checkout import change_params
from malaria.pipeline.lock import read_entries
from malaria.tracking.address import reason_of
from malaria.tracking.server import HERE
from malaria.tracking.store import open_store

from .conftest import Checkout, answer_of
from .store import skipped, sync
from .team import LIMIT_S, PLANTED, SECRETS, USERS, Team, command_lines, dump, has_secret
from .test_commands import malaria

pytestmark = pytest.mark.slow
EPOCHS = 40  # enough that a training is under way when the server is cut off


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
    change_params(copy.demo / "params.yaml", {"train": {"epochs": EPOCHS}})
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
    checkout.dvc("repro", "--force", "--single-item", "split")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=checkout.demo,
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
    assert skipped(sync(checkout)) == []
    return run


def runs_of(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("malaria-demo")
    return list(client.search_runs([experiment.experiment_id]))


def test_a_training_goes_on_without_its_server(
    team: Team, checkout: Checkout, cut_off: str
) -> None:
    stages = ("train", "predict", "evaluate", "explain", "report")
    for stage in stages:
        assert cut_off.count(f"{stage} continues and logs nothing more") == 1
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
    assert (live.info.status, "val_loss" in live.data.metrics) == ("RUNNING", True)
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
    for name in ("loss", "val_loss", "learning_rate"):
        steps = [metric.step for metric in ada.get_metric_history(live.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1))

    evaluate = by_stage["evaluate"]
    assert evaluate.info.artifact_uri.startswith("mlflow-artifacts:/")  # by the server alone
    for name in ("metrics.json", "figures/evaluation.png"):
        path = Path(ada.download_artifacts(evaluate.info.run_id, name, str(tmp_path)))
        assert path.read_bytes() == (checkout.demo / "reports" / name).read_bytes()
    model = ada.download_artifacts(live.info.run_id, "models/model.keras", str(tmp_path))
    trained = (checkout.demo / "models/model.keras").read_bytes()
    assert Path(model).read_bytes() == trained


def test_a_second_clone_makes_no_run_more(
    checkout: Checkout, live: Run, ada: MlflowClient, tmp_path: Path
) -> None:
    checkout.dvc("push")
    checkout.commit("results")
    checkout.run("git", "clone", "-q", str(checkout.root), str(tmp_path / "clone"))
    clone = Checkout(tmp_path / "clone", checkout.env)
    before = {run.info.run_id for run in runs_of(ada)}
    clone.dvc("pull")
    model = (clone.demo / "models/model.keras").read_bytes()
    assert model == (checkout.demo / "models/model.keras").read_bytes()
    synced = sync(clone)
    assert (synced["runs"]["made"], synced["rows"]["made"]) == (0, 0)
    assert {run.info.run_id for run in runs_of(ada)} == before


def test_a_wrong_password_is_one_sentence(checkout: Checkout, live: Run) -> None:
    result = malaria(checkout, "sync", check=False, MLFLOW_TRACKING_PASSWORD=f"wrong-{PLANTED}")
    assert (result.returncode, len(answer_of(result.stderr).splitlines())) == (2, 1)
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in result.stderr
    assert not has_secret(result.stderr.encode())


def test_a_user_who_may_only_read(
    team: Team, checkout: Checkout, live: Run, ada: MlflowClient, tmp_path: Path
) -> None:
    copy = checkout.copy(tmp_path)
    copy.env |= team.as_user("bob")
    change_params(copy.demo / "params.yaml", {"evaluate": {"threshold": "fixed_0.5"}})
    before = {run.info.run_id for run in runs_of(ada)}
    result = copy.dvc("repro", "evaluate")
    assert (result.stdout + result.stderr).count("evaluate continues and logs nothing more") == 1
    result = malaria(copy, "sync", check=False)
    assert (result.returncode, len(answer_of(result.stderr).splitlines())) == (2, 1)
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
    assert any(place.endswith("/models/model.keras") for place in places)
    assert b"POST /api/2.0/mlflow/runs" in places[str(team.folder / "logs/mlflow.before.log")]
    assert (team.folder / "storage/s3.json").stat().st_mode & 0o777 == 0o600


def test_a_table_that_somebody_holds_costs_a_stage_seconds(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = SECRETS["TEAM_DATABASE_PASSWORD"]
    address = f"{HERE}:{team.database}/mlflow"
    with psycopg.connect(f"postgresql://mlflow@{address}", password=password) as holder:
        monkeypatch.setenv(
            "MLFLOW_TRACKING_URI", f"postgresql+psycopg://mlflow:{quote(password)}@{address}"
        )
        open_store(tmp_path, "held")
        holder.execute("LOCK TABLE experiments IN ACCESS EXCLUSIVE MODE")
        start = time.monotonic()
        with pytest.raises(MlflowException, match="statement timeout") as told:
            open_store(tmp_path, "held")
        assert time.monotonic() - start < 10
        assert not has_secret(reason_of(told.value).encode())


def test_killed_it_leaves_no_server_behind_and_starts_again(team: Team) -> None:
    children = psutil.Process(team.process.pid).children(recursive=True)
    team.process.kill()
    team.process.wait()
    psutil.wait_procs(children, timeout=60)
    assert not [child for child in children if child.is_running()]
    team.start()
    assert requests.get(f"{team.address}/health", timeout=60).ok
