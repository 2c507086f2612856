"""MLflow's store, lost and made again from Git, dvc.lock and DVC's cache by `malaria sync`."""

import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from malaria.core.yaml_files import read_yaml
from malaria.paths import PIPELINES
from malaria.pipeline.lock import read_entries
from malaria.tracking.content import LIVE_ONLY
from malaria.tracking.places import prepare
from tests.mlflow_server import mlflow_server
from tests.test_house import STAGES

from .conftest import Checkout, answer_of, ended
from .store import content_of, dump, lose_store, runs_in, skipped, sync, uri_of
from .test_commands import malaria
from .test_slow import set_epochs, start_training

pytestmark = pytest.mark.slow
AWAY = "http://127.0.0.1:9"  # where no server is


@pytest.fixture(scope="module")
def lost(finished: Checkout) -> dict[tuple[str, str], dict[str, Any]]:
    """What live logging left of the finished demo."""
    return content_of(uri_of(finished))


@pytest.fixture
def copy(finished: Checkout, tmp_path: Path) -> Checkout:
    """A finished demo without a store."""
    checkout = finished.copy(tmp_path)
    lose_store(checkout)
    return checkout


def test_the_rebuilt_table_equals_the_lost_one(
    finished: Checkout,
    copy: Checkout,
    lost: dict[tuple[str, str], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert skipped(sync(copy)) == []
    assert content_of(uri_of(copy)) == lost
    tables, metrics = [], []
    for checkout in (finished, copy):
        client = MlflowClient(uri_of(checkout))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri_of(checkout))
        experiment = client.get_experiment_by_name("malaria-demo")
        rows = mlflow.search_runs([experiment.experiment_id])
        metrics.append({name for name in rows.columns if name.startswith("metrics.")})
        kept = [
            name
            for name in rows.columns
            if name.startswith(("params.", "metrics."))
            and name.removeprefix("metrics.") not in LIVE_ONLY
        ]
        tables.append(rows.set_index("tags.malaria.stage")[sorted(kept)].sort_index())
    assert tables[0].shape == (1 + len(STAGES), tables[1].shape[1])
    assert tables[0].equals(tables[1])
    assert metrics[0] - metrics[1] == {f"metrics.{name}" for name in LIVE_ONLY}


def test_a_second_call_changes_nothing(copy: Checkout) -> None:
    sync(copy)
    before = dump(copy)
    again = sync(copy)
    assert again["runs"]["made"] == again["runs"]["completed"] == 0
    assert again["rows"]["made"] == again["rows"]["completed"] == 0
    assert dump(copy) == before


def test_a_call_that_is_killed_is_made_up_for(
    copy: Checkout, lost: dict[tuple[str, str], dict[str, Any]]
) -> None:
    for finished in (1, 4, 7):
        process = copy.start("-m", "malaria", "sync")
        while process.poll() is None and count_finished(copy.root / "mlflow.db") < finished:
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL  # else it was done before
    assert skipped(sync(copy)) == []
    assert content_of(uri_of(copy)) == lost
    before = dump(copy)
    sync(copy)
    assert dump(copy) == before


def count_finished(database: Path) -> int:
    """Return how many runs have ended; 0 where the store is not there or not ready."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as store:
            query = "select count(*) from runs where status = 'FINISHED'"
            return int(store.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_calls_at_the_same_time_make_each_run_once(
    copy: Checkout, lost: dict[tuple[str, str], dict[str, Any]]
) -> None:
    processes = [copy.start("-m", "malaria", "sync", "--json") for _ in range(4)]
    answers = [json.loads(answer_of(ended(process, 300))) for process in processes]
    locks = [copy.root / folder / "dvc.lock" for folder in PIPELINES]  # two are in Git
    made = [sum(len(read_entries(lock.read_bytes(), "", lock.name)) for lock in locks), 0, 0, 0]
    assert made[0] > 2 * len(STAGES)
    assert sorted((answer["runs"]["made"] for answer in answers), reverse=True) == made
    assert content_of(uri_of(copy)) == lost


def test_a_server_that_goes_away_in_the_middle_loses_and_doubles_nothing(
    copy: Checkout,
    tmp_path: Path,
    lost: dict[tuple[str, str], dict[str, Any]],
) -> None:
    with mlflow_server(tmp_path) as (uri, process):
        copy.env["MLFLOW_TRACKING_URI"] = uri
        syncing = copy.start("-m", "malaria", "sync")
        while syncing.poll() is None and count_finished(tmp_path / "server.db") < 3:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = syncing.communicate(timeout=300)
    assert syncing.returncode == 2
    (sentence,) = answer_of(printed).splitlines()
    assert sentence.startswith(f"malaria: the MLflow store {uri} failed (")
    assert sentence.endswith("What was done is kept, and the same command continues.")
    with mlflow_server(tmp_path, int(uri.rpartition(":")[2])):
        assert skipped(sync(copy)) == []
        assert content_of(uri) == lost
        second = sync(copy)
    for kind in ("runs", "rows"):
        assert (second[kind]["made"], second[kind]["completed"]) == (0, 0)
    assert not (copy.root / "mlflow.db").exists()


def test_a_store_that_lacks_nothing_is_left_as_it_is(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    shutil.rmtree(checkout.root / "pilot")  # which never ran here, nor did the study
    (checkout.root / "dvc.lock").unlink()
    shutil.rmtree(checkout.root / "experiments")
    assert prepare(checkout.root / "mlflow.db", checkout.root)  # a copy's artifacts are its own
    before = dump(checkout)
    synced = sync(checkout)
    assert (synced["runs"]["complete"], synced["rows"]["complete"]) == (len(STAGES), 1)
    assert dump(checkout) == before


def test_live_runs_are_named_by_the_digest_of_their_entry(finished: Checkout) -> None:
    entries = read_entries((finished.demo / "dvc.lock").read_bytes(), "demo", "demo/dvc.lock")
    client = MlflowClient(uri_of(finished))
    for run in runs_in(uri_of(finished)):
        stage = run.data.tags["malaria.stage"]
        if stage in entries:
            assert run.data.tags["malaria.entry"] == entries[stage].digest
            path = client.download_artifacts(run.info.run_id, "lock.yaml")
            assert read_yaml(Path(path)) == {stage: entries[stage].locked}


def test_after_a_pull_on_another_machine(
    copy: Checkout, tmp_path: Path, lost: dict[tuple[str, str], dict[str, Any]]
) -> None:
    copy.dvc("remote", "add", "-q", "--default", "store", str(tmp_path / "remote"))
    copy.commit("results")
    copy.dvc("push")
    copy.run("git", "clone", "-q", str(copy.root), str(tmp_path / "other"))
    other = Checkout(tmp_path / "other", copy.env)
    shutil.rmtree(copy.root)
    named = skipped(sync(other))
    assert "demo/models/model.keras" in named
    assert not (other.root / ".dvc/cache/files").exists()  # a remote is not asked
    other.dvc("pull")
    assert skipped(sync(other)) == []
    assert content_of(uri_of(other)) == lost


def test_after_stages_were_restored_from_the_run_cache(
    copy: Checkout, lost: dict[tuple[str, str], dict[str, Any]]
) -> None:
    fetched = read_yaml(copy.demo / "dvc.lock")["stages"]["fetch"]
    lock = {"schema": "2.0", "stages": {"fetch": fetched}}
    YAML().dump(lock, copy.demo / "dvc.lock")
    output = copy.dvc("repro", "controls").stdout
    assert "Running stage" not in output
    assert output.count("is cached - skipping run") == 3
    assert not (copy.root / "mlflow.db").exists()
    sync(copy)
    rebuilt = {key: run for key, run in content_of(uri_of(copy)).items() if key[0] in STAGES}
    assert {name for name, _ in rebuilt} == {"fetch", "split", "preprocess", "controls"}
    assert rebuilt == {key: lost[key] for key in rebuilt}


def test_a_file_that_the_cache_lost_is_named_and_the_rest_is_made(
    copy: Checkout, lost: dict[tuple[str, str], dict[str, Any]]
) -> None:
    entries = read_entries((copy.demo / "dvc.lock").read_bytes(), "demo", "x")
    (model,) = [out for out in entries["train"].outs if out.path.endswith(".keras")]
    cached = copy.root / ".dvc/cache/files/md5" / model.md5[:2] / model.md5[2:]
    content = cached.read_bytes()
    cached.unlink()
    assert skipped(sync(copy)) == ["demo/models/model.keras"]
    rebuilt = content_of(uri_of(copy))
    (train,) = [key for key in lost if key[0] == "train"]
    assert rebuilt[train]["tags"].pop("malaria.missing") == "models/model.keras"
    without = {name: md5 for name, md5 in lost[train]["artifacts"].items() if "keras" not in name}
    assert rebuilt[train] == lost[train] | {"artifacts": without}
    del rebuilt[train]
    assert rebuilt == {key: lost[key] for key in lost if key != train}
    cached.write_bytes(content)
    assert skipped(sync(copy)) == []
    assert content_of(uri_of(copy)) == lost


def test_dvc_experiments_come_back_with_their_names(copy: Checkout, tmp_path: Path) -> None:
    copy.commit("results")
    sync(copy)
    options = ("-S", "train.epochs=1", "--name", "short")
    copy.dvc("exp", "run", "--temp", "evaluate", *options)
    sync(copy)  # what the experiment did not run itself is shared with the base
    before = content_of(uri_of(copy))
    (name,) = [key for key in before if key[0].startswith("short, ")]
    assert before[name]["tags"]["dvc.experiment"] == "short"
    sync(copy, "--experiments")
    assert content_of(uri_of(copy)).keys() == before.keys()
    before = content_of(uri_of(copy))
    again = copy.copy(tmp_path / "again")  # this process keeps the old store's file open
    lose_store(again)
    sync(again, "--experiments")
    assert content_of(uri_of(again)) == before


def test_a_training_whose_store_went_away_is_one_run(copy: Checkout) -> None:
    sync(copy)  # all but the training that comes
    set_epochs(copy, 6)
    training = start_training(copy)
    training.kill()
    training.communicate(timeout=60)
    (cut,) = [
        run
        for run in runs_in(uri_of(copy))
        if run.info.status == "RUNNING" and run.data.tags["malaria.stage"] == "train"
    ]
    output = copy.dvc("repro", "train", MLFLOW_TRACKING_URI=AWAY)
    assert "`uv run malaria sync` adds it later" in output.stderr + output.stdout
    sync(copy)
    trained = [
        run
        for run in runs_in(uri_of(copy))
        if run.data.tags["malaria.stage"] == "train" and run.data.params["train.epochs"] == "6"
    ]
    assert [run.info.run_id for run in trained] == [cut.info.run_id]
    assert trained[0].info.status == "FINISHED"
    history = MlflowClient(uri_of(copy)).get_metric_history(cut.info.run_id, "val_loss")
    assert [metric.step for metric in history] == list(range(1, 7))
    assert history[1].timestamp < history[-1].timestamp
    assert {run.info.status for run in runs_in(uri_of(copy))} <= {"FINISHED", "SCHEDULED"}


def test_files_and_their_runs_are_found_both_ways(copy: Checkout) -> None:
    sync(copy)
    listed = json.loads(malaria(copy, "runs", "--json", "demo/models/model.keras").stdout)
    assert sorted(use["stage"] for use in listed) == ["explain", "predict", "report", "train"]
    (made,) = [use["run_id"] for use in listed if use["how"] == "made"]
    (predict,) = [
        run for run in runs_in(uri_of(copy)) if run.data.tags["malaria.stage"] == "predict"
    ]
    assert predict.data.tags["malaria.made_by.demo/models/model.keras"] == made
    assert malaria(copy, "runs", "README.md", check=False).returncode == 1
    assert malaria(copy, "runs", "nothing", check=False).returncode == 2


def test_wrong_use_is_one_sentence(copy: Checkout) -> None:
    for options, sentence in (
        (("--rev", "nothing"), "no commit is called 'nothing' here"),
        (("--rev", "HEAD...HEAD"), "write A..B, or one revision"),
    ):
        result = malaria(copy, "sync", *options, check=False)
        assert result.returncode == 2
        (line,) = answer_of(result.stderr).splitlines()
        assert line.startswith("malaria: ")
        assert sentence in line
    lock = copy.demo / "dvc.lock"
    lock.write_text("<<<<<<<\n" + lock.read_text())
    result = malaria(copy, "sync", check=False)
    assert (result.returncode, len(answer_of(result.stderr).splitlines())) == (2, 1)
    assert "demo/dvc.lock of the work tree is not readable as YAML" in result.stderr
