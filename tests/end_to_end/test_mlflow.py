"""What the MLflow store holds after the demo has run."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from malaria.core.params import flatten
from malaria.core.yaml_files import read_yaml
from malaria.params import load_study
from malaria.pipeline.identity import identity_of_lock
from malaria.pipeline.stages import place
from malaria.tracking.link import run_address
from malaria.tracking.store import find_address
from tests.test_house import STAGES

from .conftest import Checkout


def runs_of(checkout: Checkout) -> tuple[MlflowClient, dict[str, Run]]:
    """Return the client and the runs by their stage; each stage must have run once."""
    client = MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("malaria-demo")
    runs = client.search_runs([experiment.experiment_id])
    by_stage = {run.data.tags["malaria.stage"]: run for run in runs}
    assert len(runs) == len(by_stage)
    return client, by_stage


def locked(checkout: Checkout) -> dict[str, Any]:
    return dict(read_yaml(checkout.demo / "dvc.lock")["stages"])


def test_each_stage_is_a_run_below_one_parent(finished: Checkout) -> None:
    _, runs = runs_of(finished)
    parent = runs.pop("experiment")
    assert sorted(runs) == sorted(STAGES)
    identity = identity_of_lock(finished.demo)
    commit = finished.run("git", "rev-parse", "HEAD").stdout.strip()
    for run in (parent, *runs.values()):
        assert run.info.status == "FINISHED"
        assert run.data.tags["malaria.identity"] == identity
        assert run.data.tags["malaria.folder"] == "demo"
        assert run.data.tags["mlflow.source.git.commit"] == commit
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}


def test_the_parents_row_is_the_experiment(finished: Checkout) -> None:
    _, runs = runs_of(finished)
    row = runs["experiment"].data
    params = flatten(load_study(finished.demo / "params.yaml"))
    no_stage = ("gate.", "mlflow.")
    logged = {key: str(value) for key, value in params.items() if not key.startswith(no_stage)}
    metrics = flatten(json.loads((finished.demo / "reports/metrics.json").read_text()))
    counts = {name for name in metrics if name.endswith((".n_cells", ".n_patients"))}
    assert row.params == logged | {name: str(metrics.pop(name)) for name in counts}
    assert row.metrics == pytest.approx(metrics)


def test_the_row_shows_the_model_of_its_training(finished: Checkout) -> None:
    client, runs = runs_of(finished)
    (model,) = client.search_logged_models([runs["train"].info.experiment_id])
    assert model.name == "basic_cnn"
    assert model.source_run_id == runs["train"].info.run_id
    for name in ("experiment", "train"):
        assert [one.model_id for one in runs[name].outputs.model_outputs] == [model.model_id]


def test_the_row_is_found_by_the_lock(finished: Checkout) -> None:
    client, runs = runs_of(finished)
    identity = identity_of_lock(finished.demo)
    known = client.get_experiment_by_name("malaria-demo").experiment_id
    uri = f"sqlite:///{finished.root / 'mlflow.db'}"
    address = find_address(uri, "malaria-demo", identity)
    place = f"/#/experiments/{known}/runs/{runs['experiment'].info.run_id}"
    assert address is not None
    assert address.endswith(place)
    assert find_address(uri, "malaria-demo", "0" * 64) is None
    assert find_address(uri, "nothing", identity) is None


def test_a_server_that_is_away_costs_the_link_alone(
    finished: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    assert run_address(finished.root, "demo") is None
    printed = capsys.readouterr().err
    assert printed.startswith("gate: no link to MLflow, as it did not answer (")
    assert "secret" not in printed
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{finished.root / 'mlflow.db'}")
    assert run_address(finished.root, "demo") is None  # a file is no address
    assert capsys.readouterr().err == ""


def test_hashes_are_those_of_the_lock(finished: Checkout) -> None:
    _, runs = runs_of(finished)
    for name, stage in locked(finished).items():
        tags = runs[name].data.tags
        for kind, entries in (("dep", stage["deps"]), ("out", stage["outs"])):
            logged = {key for key in tags if key.startswith(f"{kind}.")}
            expected = {f"{kind}.{place('demo', entry['path'])}": entry["md5"] for entry in entries}
            assert logged == set(expected)
            assert {key: tags[key] for key in logged} == expected


def test_inputs_are_datasets_named_by_their_hash(finished: Checkout) -> None:
    _, runs = runs_of(finished)
    made = {out["path"]: out["md5"] for s in locked(finished).values() for out in s["outs"]}
    datasets = {
        item.dataset.name: item.dataset.digest for item in runs["train"].inputs.dataset_inputs
    }
    assert datasets == {
        f"demo/{path}": made[path]
        for path in ("data/cells.csv", "data/images.json", "data/images.npy")
    }
    assert runs["fetch"].inputs.dataset_inputs == []


def test_training_is_logged_every_epoch(finished: Checkout) -> None:
    client, runs = runs_of(finished)
    rows = (finished.demo / "reports/history.csv").read_text().splitlines()
    written = [float(row.split(",")[3]) for row in rows[1:]]
    logged = client.get_metric_history(runs["train"].info.run_id, "val_loss")
    assert [metric.step for metric in logged] == [1, 2]
    assert [metric.value for metric in logged] == written
    assert logged[0].timestamp < logged[1].timestamp
    resolved = runs["train"].data.params
    assert resolved["train.learning_rate"] == "recipe"
    assert resolved["resolved.recipe.learning_rate"] == "0.001"
    assert resolved["resolved.size"] == "24"


def test_small_outputs_are_artifacts_and_lie_beside_the_store(finished: Checkout) -> None:
    client, runs = runs_of(finished)
    experiment = client.get_experiment_by_name("malaria-demo")
    assert experiment.artifact_location == (finished.root / "mlartifacts/malaria-demo").as_uri()
    names = {item.path for item in client.list_artifacts(runs["evaluate"].info.run_id)}
    assert {"metrics.json", "figures", "plots", "tables"} <= names
    assert {item.path for item in client.list_artifacts(runs["train"].info.run_id)} == {
        "history.csv",
        "lock.yaml",
        "models",
        "train.json",
    }
    model = Path(client.download_artifacts(runs["train"].info.run_id, "models/model.keras"))
    assert model.read_bytes() == (finished.demo / "models/model.keras").read_bytes()


def test_figures_and_report_lie_under_the_row(finished: Checkout) -> None:
    client, runs = runs_of(finished)
    row = runs["experiment"]
    for name in ("figures/evaluation.png", "figures/intervals.png", "report.html"):
        path = Path(client.download_artifacts(row.info.run_id, name))
        assert path.read_bytes() == (finished.demo / "reports" / name).read_bytes()
    assert re.fullmatch(r"[0-9a-f]{8}, basic_cnn, 24 px, synthetic", row.info.run_name)
    assert row.data.tags["mlflow.note.content"].startswith("The same params and code as `")


def test_a_run_names_the_runs_that_made_its_inputs(finished: Checkout) -> None:
    _, runs = runs_of(finished)
    tags = runs["evaluate"].data.tags
    made_by = {
        key.removeprefix("malaria.made_by.demo/"): value
        for key, value in tags.items()
        if key.startswith("malaria.made_by.")
    }
    ids = {stage: run.info.run_id for stage, run in runs.items()}
    assert made_by == {
        "data/cells.csv": ids["split"],
        "data/images.json": ids["preprocess"],
        "data/controls.csv": ids["controls"],
        "reports/external.csv": ids["predict"],
        "reports/history.csv": ids["train"],
        "reports/predictions.csv": ids["predict"],
        "reports/train.json": ids["train"],
    }
    shown = {stage: runs["experiment"].data.tags[f"malaria.run.{stage}"] for stage in STAGES}
    assert shown == {stage: ids[stage] for stage in STAGES}


def test_the_view_of_the_ui_shows_what_there_is(finished: Checkout) -> None:
    client, runs = runs_of(finished)
    tags = client.get_experiment_by_name("malaria-demo").tags
    view = json.loads(json.loads(tags["mlflow.sharedViewState.rows"])["state"])
    row = runs["experiment"]
    found = client.search_runs([row.info.experiment_id], view["searchFilter"])
    assert [run.info.run_id for run in found] == [row.info.run_id]
    for column in view["selectedColumns"]:
        kind, _, name = column.partition(".")
        known = {"metrics": row.data.metrics, "params": row.data.params}.get(kind, "Description")
        assert name.strip("`") in known


def test_a_stage_that_raises_closes_its_run_as_failed(finished: Checkout, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path)
    (copy.root / "stages/split.py").write_text("1 / 0")
    result = copy.run("python", "stages", "split", cwd=copy.demo, check=False)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr  # no mistake of the user, so it is shown in full
    client = MlflowClient(f"sqlite:///{copy.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("malaria-demo")
    run = client.search_runs([experiment.experiment_id], max_results=1)[0]
    assert run.info.status == "FAILED"
    assert "malaria.error" in run.data.tags
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert copy.root in folder.parents  # not where the experiment was made
    text = (folder / "traceback.txt").read_text()
    assert text.startswith("Traceback")


def test_a_full_disk_is_one_sentence(finished: Checkout, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path)
    images = copy.demo / "data/images.npy"
    images.unlink()
    images.symlink_to("/dev/full")
    result = copy.run("python", "stages", "preprocess", cwd=copy.demo, check=False)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "preprocess: the disk is full; free some space and run the same command again."
    )
    assert "Traceback" not in result.stderr


def test_a_server_that_is_away_costs_seconds_and_no_output(
    finished: Checkout, tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    before = (copy.demo / "data/cells.csv").read_bytes()
    start = time.monotonic()
    result = copy.run(
        "python",
        "stages",
        "split",
        cwd=copy.demo,
        MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9",
    )
    assert time.monotonic() - start < 60
    assert result.stderr.count("mlflow: http://127.0.0.1:9 failed") == 1
    assert "split continues and logs nothing more" in result.stderr
    assert "secret" not in result.stdout + result.stderr
    assert (copy.demo / "data/cells.csv").read_bytes() == before


def test_a_backend_that_does_not_work_is_one_sentence(finished: Checkout) -> None:
    for stage in ("split", "train"):
        result = finished.run(
            "python", "stages", stage, cwd=finished.demo, check=False, KERAS_BACKEND="torch"
        )
        assert result.returncode == 1
        assert result.stderr == (
            f"{stage}: KERAS_BACKEND is 'torch', but the networks here run on tensorflow or jax; "
            "set it to one of them or unset it.\n"
        )
