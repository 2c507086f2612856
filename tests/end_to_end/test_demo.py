"""The demo, run by DVC in a checkout of its own: what a user finds afterwards."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from malaria.core.table import read_cells
from malaria.core.yaml_files import read_yaml
from malaria.evaluation.calibration import fit_temperature
from malaria.evaluation.curves import compute_curves
from malaria.evaluation.metrics import choose_threshold, compute_metrics
from malaria.evaluation.tables import Settings, assess
from malaria.params import load_study
from malaria.pipeline.identity import digest_of, identity_of_lock, parts_now
from malaria.pipeline.stages import read_stages
from malaria.prediction.external import pin, read_external
from malaria.prediction.table import read_predictions, write_table
from tests.test_house import STAGES

from .conftest import Checkout, NewCheckout


def test_the_terminal_shows_the_metrics_and_where_to_look(finished: Checkout) -> None:
    lines = [line.split() for line in finished.printed.splitlines()]
    test = json.loads((finished.demo / "reports/metrics.json").read_text())["test"]
    assert ["val", "test"] in lines
    assert [line[2] for line in lines if line[:1] == ["n_cells"]] == [str(test["n_cells"])]
    assert [line[2] for line in lines if line[:1] == ["brier"]] == [f"{test['brier']:.3f}"]
    assert "report: open demo/reports/report.html; `uv run malaria ui` shows" in finished.printed


def test_every_output_is_there_and_locked(finished: Checkout) -> None:
    locked = read_yaml(finished.demo / "dvc.lock")["stages"]
    assert set(locked) == set(STAGES)
    outs = {out["path"] for stage in locked.values() for out in stage["outs"]}
    stages = read_stages(finished.demo, load_study(finished.demo / "params.yaml"))
    assert outs == {out for stage in stages.values() for out in stage.outs}
    for out in outs:
        path = finished.demo / out
        assert path.is_file() or any(path.iterdir()), out


def test_a_second_run_has_nothing_to_do(finished: Checkout) -> None:
    output = finished.dvc("repro").stdout
    assert "Data and pipelines are up to date." in output


def test_git_sees_small_results_only(finished: Checkout) -> None:
    status = finished.run("git", "status", "--porcelain", "--untracked-files=all").stdout
    files = {Path(line[3:]) for line in status.splitlines()}
    assert Path("demo/dvc.lock") in files
    assert {file.parts[:2] for file in files} == {("demo", "dvc.lock"), ("demo", "reports")}
    assert sum((finished.root / file).stat().st_size for file in files) < 2_000_000


def test_metrics_follow_from_the_predictions(finished: Checkout) -> None:
    reports = finished.demo / "reports"
    predictions = read_predictions(reports / "predictions.csv")
    written = json.loads((reports / "metrics.json").read_text())
    val = predictions[predictions["split"] == "val"]
    threshold = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy(), "youden")
    temperature = fit_temperature(val["label"].to_numpy(), val["logit"].to_numpy())
    assert list(written) == ["val", "test"]
    for split, values in written.items():
        cells = predictions[predictions["split"] == split]
        assert compute_metrics(cells, threshold) == values
        for name, curve in compute_curves(cells, threshold, temperature).items():
            assert (reports / f"plots/{name}_{split}.csv").read_text() == curve.to_csv(index=False)


def test_tables_follow_from_the_predictions_to_the_digit(
    finished: Checkout, tmp_path: Path
) -> None:
    reports = finished.demo / "reports"
    metrics = json.loads((reports / "metrics.json").read_text())
    cells = read_cells(finished.demo / "data/cells.csv")
    described = cells[["cell_id", "photo", "width", "height"]]
    predictions = read_predictions(reports / "predictions.csv").merge(described, on="cell_id")
    splits = {split: predictions[predictions["split"] == split] for split in metrics}
    controls = read_predictions(finished.demo / "data/controls.csv")
    tables = assess(
        splits,
        {split: controls[controls["split"] == split] for split in metrics},
        Settings(
            metrics["val"]["threshold"],
            fit_temperature(splits["val"]["label"].to_numpy(), splits["val"]["logit"].to_numpy()),
            "youden",
            replicates=2000,
            seed=2018,
        ),
    )
    written = {path.stem: path.read_text() for path in (reports / "tables").iterdir()}
    assert set(written) == {*tables, "external"}
    assert len(written["external"].splitlines()) == 1
    for name, table in tables.items():
        write_table(table, tmp_path / "table.csv")
        assert (tmp_path / "table.csv").read_text() == written[name], name
    for row in tables["intervals"].itertuples():
        if not pd.isna(row.estimate):
            assert round(row.estimate, 6) == metrics[row.split][row.metric]


@pytest.mark.slow
def test_an_external_set_stands_beside_the_splits(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    before = read_predictions(finished.demo / "reports/predictions.csv")
    test = before[before["split"] == "test"].set_index("cell_id")
    names = {cell_id: f"crop {number}" for number, cell_id in enumerate(test.index[::-1])}
    with (
        zipfile.ZipFile(checkout.demo / "data/raw/cell_images.zip") as own,
        zipfile.ZipFile(tmp_path / "lab_b.zip", "w") as other,
    ):
        for entry in map(Path, own.namelist()):
            if entry.stem in names:
                place = f"{entry.parent.name}/{names[entry.stem]}.png"
                other.writestr(place, own.read(entry.as_posix()))
    params = checkout.demo / "params.yaml"
    pinned = pin(tmp_path / "lab_b.zip", tmp_path / "lab_b.zip")
    params.write_text(params.read_text().replace("external: []\n", f"external:\n{pinned}\n"))
    output = checkout.dvc("repro").stdout
    assert "Stage 'train' didn't change, skipping" in output
    assert "evaluate: warning: external.lab_b: patients unknown" in output
    known = (
        f"external.lab_b is not external: {len(test)} of its {len(test)} cells have the very pix"
    )
    assert f"evaluate: warning: {known}" in output

    reports, old = checkout.demo / "reports", finished.demo / "reports"
    rows = read_external(reports / "external.csv").set_index("cell_id")
    same = rows.loc[[names[cell_id] for cell_id in test.index]]
    assert same["label"].tolist() == test["label"].tolist()
    assert same["same_as"].tolist() == test.index.tolist()
    assert f"E{known[1:]}" in (reports / "report.html").read_text()
    assert np.abs(same["logit"].to_numpy() - test["logit"].to_numpy()).max() <= 2e-6
    metrics = json.loads((reports / "metrics.json").read_text())
    assert metrics.pop("external").keys() == {"lab_b"}
    assert metrics == json.loads((old / "metrics.json").read_text())
    changed = {
        "metrics.json",
        "external.csv",
        "tables/external.csv",
        "report.html",
        "model_card.md",
    }
    for file in (path for path in old.rglob("*") if path.is_file()):
        name = file.relative_to(old).as_posix()
        assert ((reports / name).read_bytes() == file.read_bytes()) == (name not in changed), name


def test_no_patient_is_in_two_splits(finished: Checkout) -> None:
    rows = (finished.demo / "data/cells.csv").read_text().splitlines()
    header = rows[0].split(",")
    cells = [dict(zip(header, row.split(","), strict=True)) for row in rows[1:]]
    assert header == ["cell_id", "label", "patient", "slide", "photo", "width", "height", "split"]
    assert [cell["cell_id"] for cell in cells] == sorted(cell["cell_id"] for cell in cells)
    assert len({cell["patient"] for cell in cells}) == 15
    assert len({(cell["patient"], cell["split"]) for cell in cells}) == 15


def test_the_identity_is_known_before_and_after(
    finished: Checkout, new_checkout: NewCheckout
) -> None:
    fresh = new_checkout("fresh")
    before = digest_of(parts_now(fresh.demo, load_study(fresh.demo / "params.yaml")))
    assert identity_of_lock(finished.demo) == before
    params = fresh.demo / "params.yaml"
    params.write_text(params.read_text().replace("threshold: youden", "threshold: fixed_0.5"))
    assert digest_of(parts_now(fresh.demo, load_study(params))) != before
    code = fresh.root / "malaria/evaluation/curves.py"
    params.write_text(params.read_text().replace("threshold: fixed_0.5", "threshold: youden"))
    code.write_text(code.read_text() + "\n")
    assert digest_of(parts_now(fresh.demo, load_study(params))) != before


def test_revisions_can_be_compared(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    checkout.commit("first")
    params = checkout.demo / "params.yaml"
    params.write_text(params.read_text().replace("threshold: youden", "threshold: fixed_0.5"))
    output = checkout.dvc("repro", "evaluate").stdout
    for stage in ("train", "predict"):
        assert f"Stage '{stage}' didn't change, skipping" in output
    checkout.commit("second")

    metrics = json.loads(checkout.dvc("metrics", "diff", "HEAD~1", "HEAD", "--json").stdout)
    assert "test.sensitivity" in metrics["reports/headline.json"]
    diff = json.loads(checkout.dvc("params", "diff", "HEAD~1", "HEAD", "--json").stdout)
    changed = diff["params.yaml"]
    assert list(changed) == ["evaluate.threshold"]
    assert changed["evaluate.threshold"]["old"] == "youden"
    assert changed["evaluate.threshold"]["new"] == "fixed_0.5"
    checkout.dvc("plots", "diff", "HEAD~1", "HEAD", "-o", "drawn")
    page = (checkout.demo / "drawn/index.html").read_text()
    for title in ("Loss by epoch", "ROC", "Precision-recall", "Calibration", "Test cells"):
        assert title in page


@pytest.mark.slow
def test_the_run_cache_never_brings_back_images_of_another_size(
    finished: Checkout, tmp_path: Path
) -> None:
    checkout = finished.copy(tmp_path)
    params = checkout.demo / "params.yaml"
    params.write_text(params.read_text().replace("size: 24", "size: 20"))
    (checkout.demo / "dvc.lock").unlink()  # then only the run cache knows the finished run
    output = checkout.dvc("repro", "preprocess").stdout
    assert "Running stage 'preprocess'" in output
    assert np.load(checkout.demo / "data/images.npy", mmap_mode="r").shape == (180, 20, 20, 3)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        pytest.param(
            "device: auto",
            "device: gpu",
            "train: train.device is 'gpu', but",
            marks=pytest.mark.slow,
        ),
        (
            "epochs: 2",
            "epochs: 3\n  epoch: 2",
            "train.epoch is not a known key (allowed: model, weights, epochs",
        ),
    ],
)
def test_a_mistake_is_one_sentence_without_traceback(
    finished: Checkout, old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)  # so that only the train stage has to run
    params = copy.demo / "params.yaml"
    params.write_text(params.read_text().replace(old, new))
    result = copy.dvc("repro", "--single-item", "train", check=False)
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert sentence in output
    assert "Traceback" not in output
