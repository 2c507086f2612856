"""The classes of cells in image files, from the evaluated model of a folder."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.core.files import find_in_mirror
from malaria.core.params import load
from malaria.data.archive import list_cells, open_archive
from malaria.data.images import write_images
from malaria.data.params import FetchParams
from malaria.errors import MalariaError
from malaria.evaluation.metrics import threshold_in
from malaria.models.base.saved import save_model
from malaria.pipeline.stages import md5
from malaria.prediction.predict import BATCH, predictor
from malaria.prediction.table import read_predictions, with_probabilities, write_predictions
from malaria.registry.classifier import Classifier, open_classifier
from tests.conftest import REPO, png, random_images
from tests.models.test_saved import SIZE, small_model

THRESHOLD = 0.4
CELLS = 12
Predict = Callable[..., Any]  # the result of typer's runner


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose folder `pilot` has a model and the lock that records it."""
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
    """A folder of crops of several sizes."""
    folder = tmp_path / "cells"
    folder.mkdir()
    for number in range(CELLS):
        (folder / f"{number:02}.png").write_bytes(png(random_images(1, 20 + number, number)[0]))
    return folder


@pytest.fixture
def predict(root: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """The command, as `predict(file, ..., option, ...)`."""
    monkeypatch.setattr("malaria.cli.root.ROOT", root)
    return lambda *words: CliRunner().invoke(cli.app, ["predict", *map(str, words)])


def test_a_csv_has_a_row_for_each_file(predict: Predict, cells: Path, tmp_path: Path) -> None:
    result = predict(cells)
    assert result.exit_code == 0, result.exception
    table = pd.read_csv(io.StringIO(result.stdout))
    assert list(table) == ["file", "probability", "label", "threshold"]
    assert table["file"].tolist() == [str(cells / f"{number:02}.png") for number in range(CELLS)]
    assert set(table["threshold"]) == {THRESHOLD}
    called = np.where(table["probability"] >= THRESHOLD, "parasitized", "uninfected")
    assert table["label"].tolist() == called.tolist()
    assert len(set(table["probability"])) == CELLS
    output = tmp_path / "answer.csv"
    assert predict(cells, "--output", output).stdout == ""
    assert output.read_text() == result.stdout
    assert json.loads(predict(cells, "--json").stdout) == table.to_dict("records")


def test_a_cell_alone_gets_the_number_that_it_gets_among_others(
    predict: Predict, cells: Path
) -> None:
    files = sorted(cells.iterdir())
    together = json.loads(predict(*files, "--json").stdout)
    assert together[:3] == [json.loads(predict(one, "--json").stdout)[0] for one in files[:3]]


def test_a_real_cell_gets_the_number_of_predictions_csv(predict: Predict, tmp_path: Path) -> None:
    params = load(FetchParams, REPO / "pilot/params.yaml")
    zip_file = find_in_mirror(str(params.sha256))
    if zip_file is None:
        pytest.skip("the pilot's zip is not in MALARIA_MIRROR")
    with open_archive(zip_file) as archive:
        cells = list_cells(archive)[::500]
        write_images(archive, cells, SIZE, tmp_path / "images.npy")
        files = [tmp_path / f"{cell.cell_id}.png" for cell in cells]
        for file, cell in zip(files, cells, strict=True):
            file.write_bytes(archive.read(cell.entry))
    logit = predictor(small_model())(np.load(tmp_path / "images.npy"), np.arange(len(cells)))
    table = pd.DataFrame({"cell_id": "a", "patient": "", "split": "", "label": 0, "logit": logit})
    write_predictions(with_probabilities(table), tmp_path / "predictions.csv")
    expected = read_predictions(tmp_path / "predictions.csv")["probability"]
    found = [row["probability"] for row in json.loads(predict(*files, "--json").stdout)]
    assert len(found) == 20
    assert found == expected.tolist()


def test_one_damaged_file_leaves_all_as_it_was(
    predict: Predict, cells: Path, tmp_path: Path
) -> None:
    (cells / "05.png").write_bytes((cells / "05.png").read_bytes()[:100])
    output = tmp_path / "answer.csv"
    output.write_text("yesterday's")
    result = predict(cells, "--output", output)
    assert isinstance(result.exception, MalariaError)
    assert f"1 of {CELLS} files is not usable" in str(result.exception)
    assert f"'{cells / '05.png'}' does not decode" in str(result.exception)
    assert (output.read_text(), result.stdout) == ("yesterday's", "")
    assert not list(tmp_path.glob(".answer*"))


def test_a_wrong_output_is_refused_before_anything_is_predicted(
    predict: Predict, tmp_path: Path
) -> None:
    for output, said in ((tmp_path, "is a folder"), (tmp_path / "no/a.csv", "does not exist")):
        assert said in str(predict("no.png", "--output", output).exception)


def test_what_does_not_belong_together_is_refused(
    predict: Predict, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", tmp_path)

    def said() -> str:
        return str(predict(cells, "--folder", "demo").exception)

    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/dvc.yaml").touch()
    repro = "make it with `uv run dvc --cd demo repro`."
    assert said() == f"demo/dvc.lock records no demo/models/model.keras; {repro}"
    write_finished(tmp_path / "demo")
    (tmp_path / "demo/reports/metrics.json").write_text('{"val": {"threshold": 0.1}}')
    assert said().startswith("demo/reports/metrics.json has the MD5 ")
    assert "so model and numbers may not belong together" in said()
    (tmp_path / "demo/models/model.keras").unlink()
    assert said() == f"demo/models/model.keras is missing; {repro}"  # no remote is set
    (tmp_path / "demo/.dvc").mkdir()
    (tmp_path / "demo/.dvc/config").write_text("[core]\n    remote = store\n")
    fetch = "fetch it with `uv run dvc --cd demo pull`"
    assert said() == f"demo/models/model.keras is missing; {fetch}, or {repro}"


@pytest.mark.parametrize("content", ["{}", '{"val": {"threshold": null}}', "[]"])
def test_metrics_without_an_operating_point_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(MalariaError, match=r"m\.json has no number for val\.threshold"):
        threshold_in(json.loads(content), tmp_path / "m.json")


def test_a_file_that_is_not_a_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"no zip")
    with pytest.raises(MalariaError, match=r"model\.keras cannot be loaded as a Keras model"):
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
    monkeypatch.setattr("malaria.cli.root.ROOT", root)
    monkeypatch.setattr(sys, "argv", ["malaria", "predict", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    printed = capsys.readouterr()
    assert (caught.value.code, printed.out) == (2, "")
    assert printed.err == (
        "malaria: the folder is pilot; --folder names another\n"
        "malaria: Keras starts and loads the model ...\n"
        "malaria: 1 of 1 files is not usable, so nothing was predicted: "
        f"'{tmp_path}/a.png' is not a PNG, JPEG or TIFF; replace it by one or remove it.\n"
    )
