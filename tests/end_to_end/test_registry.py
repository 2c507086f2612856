"""The demo's model, registered, promoted and served as a user would: real commands and servers."""

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import requests
from mlflow import MlflowClient
from PIL import Image

from malaria.doctor.checks import CHECKS
from malaria.tracking.server import HERE, find_port, get, wait_until

from .conftest import Checkout, answer_of
from .test_commands import malaria

pytestmark = pytest.mark.slow
STOLEN = 'raise ImportError("the checkout is used")\n'


@pytest.fixture(scope="module")
def registered(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose demo is committed, registered and promoted in a store of its own."""
    checkout = finished.copy(tmp_path_factory.mktemp("registered"))
    checkout.env["MLFLOW_TRACKING_URI"] = f"sqlite:///{checkout.root}/own.db"
    checkout.run("git", "config", "user.name", "Ada")
    checkout.run("git", "config", "user.email", "ada@example.org")
    refused = malaria(checkout, "promote", "--folder", "demo", "--reason", "first", check=False)
    assert refused.returncode == 2
    checkout.commit("results of the demo")
    refused = malaria(checkout, "register", "--folder", "demo", check=False)
    assert refused.returncode == 2  # no run is in the new store
    assert "make it from dvc.lock with `uv run malaria sync`" in refused.stderr
    malaria(checkout, "sync")
    told = malaria(checkout, "register", "--folder", "demo")
    assert told.stdout == "malaria-demo: version 1 is new, and is the candidate\n"
    assert answer_of(told.stderr) == ""
    again = json.loads(malaria(checkout, "register", "--folder", "demo", "--json").stdout)
    assert again == {"name": "malaria-demo", "version": "1", "is_new": False}
    told = malaria(checkout, "promote", "--folder", "demo", "--reason", "first")
    assert told.stdout.endswith("champion: version 1 (before: none)\n")
    return checkout


@pytest.fixture(scope="module")
def address(registered: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `mlflow models serve`, in a folder where this package cannot be imported."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "malaria").mkdir()
    (folder / "malaria/__init__.py").write_text(STOLEN)
    port = find_port(HERE, [0])
    uri = "models:/malaria-demo@champion"
    command = f"mlflow models serve --model-uri {uri} --env-manager local --port {port}"
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=folder,
            env=registered.env | {"PYTHONPATH": str(folder)},
            stdout=log,
            stderr=log,
            text=True,
            process_group=0,
        ) as server,
    ):
        try:
            ping = f"http://{HERE}:{port}/ping"
            wait_until(lambda: get(ping, 5).ok, server, log, "the model is not served")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(server.pid, 15)  # it has a server below it


def cell(checkout: Checkout) -> tuple[str, bytes]:
    """Return id and PNG of a test cell of the demo."""
    predictions = pd.read_csv(checkout.demo / "reports/predictions.csv")
    chosen = predictions[predictions["split"] == "test"]["cell_id"].iloc[0]
    with ZipFile(checkout.demo / "data/raw/cell_images.zip") as archive:
        entry = next(name for name in archive.namelist() if name.endswith(f"/{chosen}.png"))
        return chosen, archive.read(entry)


def as_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_the_server_answers_a_png_and_an_array_as_evaluate_and_predict_do(
    registered: Checkout, address: str, tmp_path: Path
) -> None:
    name, content = cell(registered)
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    bodies: list[dict[str, Any]] = [
        {"dataframe_records": [{"image": as_text(content)}, {"image": pixels.tolist()}]},
        {"dataframe_split": {"columns": ["image"], "data": [[as_text(content)]]}},
        {"inputs": [as_text(content)]},
        {"instances": [pixels.tolist()] * 2},
        {"inputs": {"image": [as_text(content)]}},
    ]
    rows = [
        row for body in bodies for row in requests.post(address, json=body).json()["predictions"]
    ]
    (tmp_path / f"{name}.png").write_bytes(content)
    printed = malaria(registered, "predict", str(tmp_path), "--folder", "demo", "--json").stdout
    (predicted,) = json.loads(printed)
    assert len(rows) == 7
    assert all({"file": predicted["file"], **row} == predicted for row in rows)
    metrics = json.loads((registered.demo / "reports/metrics.json").read_text())
    table = pd.read_csv(registered.demo / "reports/predictions.csv").set_index("cell_id")
    assert predicted["probability"] == table.loc[name, "probability"]
    assert predicted["threshold"] == metrics["val"]["threshold"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda png, pixels: as_text(png[:200]), "'cell 1' does not decode"),
        (lambda png, pixels: as_text(b"text"), "'cell 1' is not a PNG, JPEG or TIFF"),
        (lambda png, pixels: "a text", "cell 1 is a text, but not the base64 of an image file"),
        (lambda png, pixels: pixels[..., 0].tolist(), "cell 1 has the shape "),
        (lambda png, pixels: (pixels / 255).tolist(), "values of the type float64, not uint8"),
        (lambda png, pixels: (pixels * 2.0).astype(int).tolist(), "values from 0 to "),
    ],
)
def test_the_server_refuses_what_is_no_cell_with_a_sentence(
    registered: Checkout, address: str, change: Any, said: str
) -> None:
    _, content = cell(registered)
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    image = change(content, pixels)
    answer = requests.post(address, json={"dataframe_records": [{"image": image}]})
    assert answer.status_code == 400
    assert said in answer.json()["message"]
    assert len(answer.json()["message"]) < 400
    assert requests.post(address, json={"inputs": [as_text(content)]}).ok


def test_other_requests_are_4xx_too(address: str) -> None:
    bodies: list[Any] = [{}, [], {"inputs": []}, {"inputs": 7}, {"dataframe_records": [{"a": 1}]}]
    answers = [requests.post(address, json=body) for body in bodies]
    as_json = {"Content-Type": "application/json"}
    deep, long = "[" * 100_000 + "]" * 100_000, f"[[[[{'1' * 10_000}, 1, 1]]]]"
    many = json.dumps([[[[0, 0, 0]]]] * 200_000)
    raw = ["no JSON", *(f'{{"inputs": {each}}}' for each in (deep, long, many))]
    answers += [requests.post(address, data=body, headers=as_json) for body in raw]
    assert {answer.status_code for answer in answers} == {400}
    assert all(answer.json()["message"] for answer in answers)
    as_png = {"Content-Type": "image/png"}
    assert requests.post(address, data=b"\x89PNG", headers=as_png).status_code == 415


def test_the_version_leads_to_its_runs_and_has_the_card(registered: Checkout) -> None:
    client = MlflowClient(registered.env["MLFLOW_TRACKING_URI"])
    version = client.get_model_version_by_alias("malaria-demo", "champion")
    row, train = (
        client.get_run(str(run_id)).data
        for run_id in (version.run_id, version.tags["malaria.run.train"])
    )
    assert row.tags["malaria.stage"] == "experiment"
    assert row.metrics["test.accuracy"] == float(version.tags["test.accuracy"])
    assert train.tags["out.demo/models/model.keras"] == version.tags["malaria.model"]
    assert version.description.startswith("# Model card: basic_cnn")


def test_doctor_tells_all_and_changes_nothing(finished: Checkout) -> None:
    before = files_of(finished.root)
    result = malaria(finished, "doctor", "--json", check=False)
    found = json.loads(result.stdout)
    assert files_of(finished.root) == before
    named = {finding["check"] for finding in found}
    assert named == set(CHECKS)
    failed = [finding for finding in found if finding["level"] == "fail"]
    assert result.returncode == bool(failed)
    of_ours = {"Git", "DVC (demo)", "MLflow", "leftovers"}
    assert not [finding for finding in failed if finding["check"] in of_ours]
    assert all(finding["remedy"] for finding in found if finding["level"] != "ok")


def files_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return size and time of change of each file, without those of Python and DVC."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", "tmp"} & set(path.relative_to(folder).parts)
    }
