"""The classes of crops in files, from the evaluated model of a folder."""

import io
import json
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from malaria import cli
from malaria.archive import list_cells, open_archive
from malaria.classifier import Classifier, open_classifier
from malaria.errors import MalariaError
from malaria.images import write_images
from malaria.metrics import read_predictions, with_probabilities, write_predictions
from malaria.mirror import find_in_mirror
from malaria.modelfile import save_model
from malaria.operating_point import threshold_in
from malaria.params.base import load
from malaria.params.fetch import FetchParams
from malaria.pipeline import md5
from malaria.prediction import BATCH, predictor
from tests.conftest import REPO, png, random_images
from tests.test_modelfile import SIZE, small_model

THRESHOLD = 0.4
CELLS = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root whose folder `pilot` has a model and the lock that records it."""
    root = tmp_path_factory.mktemp("predict")
    write_finished(root / "pilot")
    return root


def write_finished(folder: Path) -> None:
    for name in ("models", "reports"):
        (folder / name).mkdir(parents=True)
    save_model(small_model(), folder / "models/model.keras")
    metrics = {split: {"threshold": THRESHOLD} for split in ("val", "test")}
    (folder / "reports/metrics.json").write_text(json.dumps(metrics))
    outs = "".join(
        f"    - {{path: {path}, md5: {md5(folder / path)}}}\n"
        for path in ("models/model.keras", "reports/metrics.json")
    )
    (folder / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  all:\n    outs:\n{outs}")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Return a folder of crops of several sizes."""
    folder = tmp_path / "cells"
    folder.mkdir()
    for number in range(CELLS):
        (folder / f"{number:02}.png").write_bytes(png(random_images(1, 20 + number, number)[0]))
    return folder


@pytest.fixture
def predict(root: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr("malaria.root.ROOT", root)
    return CliRunner()


def evaluated(source: ZipFile, cells: list[str], scratch: Path) -> pd.DataFrame:
    """Return what the stages preprocess and evaluate write of the cells of a zip."""
    chosen = [cell for cell in list_cells(source) if cell.cell_id in cells]
    write_images(source, chosen, SIZE, scratch / "images.npy")
    images = np.load(scratch / "images.npy", mmap_mode="r")
    table = pd.DataFrame(
        {"cell_id": [cell.cell_id for cell in chosen], "patient": "C1", "split": "test", "label": 0}
    )
    logit = predictor(small_model())(images, np.arange(len(images)))
    write_predictions(with_probabilities(table.assign(logit=logit)), scratch / "predictions.csv")
    return read_predictions(scratch / "predictions.csv").set_index("cell_id")


def test_a_csv_has_a_row_for_each_file(predict: CliRunner, cells: Path, tmp_path: Path) -> None:
    result = predict.invoke(cli.app, ["predict", str(cells)])
    assert result.exit_code == 0, result.exception
    table = pd.read_csv(io.StringIO(result.stdout))
    assert list(table) == ["file", "probability", "label", "threshold"]
    assert table["file"].tolist() == [str(cells / f"{number:02}.png") for number in range(CELLS)]
    assert set(table["threshold"]) == {THRESHOLD}
    called = np.where(table["probability"] >= THRESHOLD, "parasitized", "uninfected")
    assert table["label"].tolist() == called.tolist()
    assert len(set(table["probability"])) == CELLS
    output = tmp_path / "answer.csv"
    again = predict.invoke(cli.app, ["predict", str(cells), "--output", str(output)])
    assert again.stdout == ""
    assert output.read_text() == result.stdout
    rows = json.loads(predict.invoke(cli.app, ["predict", str(cells), "--json"]).stdout)
    assert rows == table.to_dict("records")


def test_a_cell_alone_gets_the_number_that_it_gets_among_others(
    predict: CliRunner, cells: Path
) -> None:
    files = sorted(map(str, cells.iterdir()))
    together = json.loads(predict.invoke(cli.app, ["predict", *files, "--json"]).stdout)
    alone = [
        json.loads(predict.invoke(cli.app, ["predict", file, "--json"]).stdout)[0]
        for file in files[:3]
    ]
    assert alone == together[:3]


def test_a_real_cell_gets_the_number_of_predictions_csv(predict: CliRunner, tmp_path: Path) -> None:
    params = load(FetchParams, REPO / "pilot/params.yaml")
    zip_file = find_in_mirror(str(params.sha256))
    if zip_file is None:
        pytest.skip("the pilot's zip is not in MALARIA_MIRROR")
    with open_archive(zip_file) as archive:
        names = {cell.cell_id: cell.entry for cell in list_cells(archive)[::500]}
        expected = evaluated(archive, list(names), tmp_path)
        for name, entry in names.items():
            (tmp_path / f"{name}.png").write_bytes(archive.read(entry))
    files = [str(tmp_path / f"{name}.png") for name in names]
    rows = json.loads(predict.invoke(cli.app, ["predict", *files, "--json"]).stdout)
    found = {Path(row["file"]).stem: row["probability"] for row in rows}
    assert len(found) == 20
    assert found == expected["probability"].to_dict()


def test_one_damaged_file_leaves_all_as_it_was(
    predict: CliRunner, cells: Path, tmp_path: Path
) -> None:
    (cells / "05.png").write_bytes((cells / "05.png").read_bytes()[:100])
    output = tmp_path / "answer.csv"
    output.write_text("yesterday's")
    result = predict.invoke(cli.app, ["predict", str(cells), "--output", str(output)])
    assert isinstance(result.exception, MalariaError)
    assert f"1 of {CELLS} files cannot be taken" in str(result.exception)
    assert f"'{cells / '05.png'}' does not decode" in str(result.exception)
    assert output.read_text() == "yesterday's"
    assert result.stdout == ""
    assert not list(tmp_path.glob(".answer*"))


def test_a_wrong_output_is_known_before_anything_is_predicted(
    predict: CliRunner, tmp_path: Path
) -> None:
    for output, said in ((tmp_path, "is a folder"), (tmp_path / "no/a.csv", "is not there")):
        result = predict.invoke(cli.app, ["predict", "no.png", "--output", str(output)])
        assert said in str(result.exception)


def test_what_does_not_belong_together_is_refused(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malaria.root.ROOT", tmp_path)
    folder = tmp_path / "demo"
    call = ["predict", str(cells), "--folder", "demo"]
    said = [str(CliRunner().invoke(cli.app, call).exception)]
    write_finished(folder)
    (folder / "reports/metrics.json").write_text('{"val": {"threshold": 0.1}}')
    said.append(str(CliRunner().invoke(cli.app, call).exception))
    (folder / "models/model.keras").unlink()
    said.append(str(CliRunner().invoke(cli.app, call).exception))
    assert said[0] == (
        "demo/dvc.lock records no demo/models/model.keras; make it with `uv run dvc repro "
        "demo/dvc.yaml`."
    )
    assert said[1].startswith("demo/reports/metrics.json has the MD5 ")
    assert "so model and numbers may not belong together" in said[1]
    assert said[2] == (
        "demo/models/model.keras is missing; fetch it with `uv run dvc pull demo/dvc.yaml`, or "
        "make it with `uv run dvc repro demo/dvc.yaml`."
    )


@pytest.mark.parametrize("content", ["{}", '{"val": {"threshold": null}}', "[]"])
def test_metrics_without_an_operating_point_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(MalariaError, match=r"m\.json has no number for val\.threshold"):
        threshold_in(json.loads(content), tmp_path / "m.json")


def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"no zip")
    with pytest.raises(MalariaError, match=r"model\.keras cannot be loaded as a Keras model \("):
        open_classifier(tmp_path / "model.keras", 0.5)


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1, BATCH + 2])
def test_no_batch_has_one_row(count: int) -> None:
    batches: list[int] = []

    def logits(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        batches.extend([BATCH] * (len(rows) // BATCH) + [len(rows) % BATCH])
        return images[rows, 0, 0, 0] / 100.0

    images = random_images(count, 2)
    answer = Classifier(2, 0.7, logits).classify(images)
    assert 1 not in batches
    assert len(answer) == count
    assert answer["probability"].tolist() == expit(images[:, 0, 0, 0] / 100).round(6).tolist()


def test_the_threshold_is_met_by_the_written_digits() -> None:
    logit = np.log(0.4 / 0.6) + np.array([-4e-7, 0, -9e-6])  # .4 as written, .4 and .399998
    answer = Classifier(2, 0.4, lambda images, rows: logit[rows]).classify(random_images(3, 2))
    assert answer["probability"].tolist() == [0.4, 0.4, 0.399998]
    assert answer["label"].tolist() == ["parasitized", "parasitized", "uninfected"]


def test_the_exit_code_is_2_and_nothing_is_printed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setattr("malaria.root.ROOT", root)
    monkeypatch.setattr(sys, "argv", ["malaria", "predict", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    told = capsys.readouterr()
    assert (caught.value.code, told.out) == (2, "")
    assert told.err == (
        "malaria: 1 of 1 files cannot be taken, so nothing was predicted: "
        f"'{tmp_path}/a.png' is no PNG, JPEG or TIFF; replace it by one or remove it.\n"
    )
