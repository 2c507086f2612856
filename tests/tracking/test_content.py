"""What output files tell of their run."""

import json
from pathlib import Path

import pytest

from malaria.pipeline.lock import LockedFile, read_entries
from malaria.tracking.content import LARGEST_ARTIFACT, Point, read_content, resolved_params
from tests.conftest import REPO

PILOT = REPO / "pilot"


def locked(path: str, size: int = 1) -> LockedFile:
    return LockedFile(path, "0" * 32, size)


def written(folder: Path, path: str, text: str) -> LockedFile:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
    return locked(path)


def test_the_pilots_committed_results_tell_its_runs() -> None:
    entries = read_entries((PILOT / "dvc.lock").read_bytes(), "pilot", "x")

    def find(out: LockedFile) -> Path | None:
        return PILOT / out.path if (PILOT / out.path).exists() else None

    train, evaluate = (
        read_content(entries["train"].outs, find),
        read_content(entries["evaluate"].outs, find),
    )
    history = (PILOT / "reports/history.csv").read_text().splitlines()
    names = history[0].split(",")
    expected = {
        (name, float(value), number)
        for number, row in enumerate(history[1:], start=1)
        for name, value in zip(names, row.split(","), strict=True)
    }
    points = {(point.name, point.value, point.step) for point in train.points}
    assert points == {point for point in expected if point[0] != "epoch"} | {("kept_epoch", 3, 0)}
    trained = json.loads((PILOT / "reports/train.json").read_text())
    assert train.params["resolved.recipe.learning_rate"] == trained["recipe"]["learning_rate"]
    assert train.params["resolved.size"] == 64
    assert "resolved.val_loss" not in train.params
    metrics = json.loads((PILOT / "reports/metrics.json").read_text())
    told = {point.name: point.value for point in evaluate.headline}
    counts = {"val.n_cells": 1558, "val.n_patients": 12, "test.n_cells": 2643}
    assert evaluate.counts == counts | {"test.n_patients": 20}
    assert evaluate.params == evaluate.counts
    assert not told.keys() & evaluate.counts.keys()
    assert told | evaluate.counts == {
        f"{split}.{name}": value for split in metrics for name, value in metrics[split].items()
    }
    assert evaluate.points == evaluate.headline
    assert evaluate.headline[0].name == "val.accuracy"  # what Compare draws first
    figures = {"evaluation.png", "intervals.png", "learning_curves.png"}
    assert set(evaluate.on_row) == {f"figures/{name}" for name in figures}
    assert {"tables/groups", "tables/smear"} < evaluate.tables.keys()
    assert evaluate.tables["tables/patients"]["patient"].dtype == "string"
    files = {"metrics.json", "plots/roc_test.csv", "tables/external.csv"}
    assert files <= evaluate.files.keys()
    assert evaluate.missing == []


def test_cells_and_images_are_counted(tmp_path: Path) -> None:
    header = "cell_id,label,patient,slide,photo,width,height,split\n"
    rows = ["a,1,C1,s,p,9,9,train", "b,0,C1,s,p,9,9,train", "c,1,C2,s,p,9,9,test"]
    outs = [
        written(tmp_path, "data/cells.csv", header + "\n".join(rows) + "\n"),
        written(tmp_path, "data/images.json", '{"images": 3}'),
    ]
    told = read_content(outs, lambda out: tmp_path / out.path)
    assert told.points == []
    assert told.params == {
        "train.n_cells": 2,
        "train.n_patients": 1,
        "train.n_parasitized": 1,
        "test.n_cells": 1,
        "test.n_patients": 1,
        "test.n_parasitized": 1,
        "n_images": 3,
    }


def test_explanations_are_summed_up_and_what_is_not_defined_is_no_metric(tmp_path: Path) -> None:
    rows = "called,fall_hottest,fall_mean,correlation\n1,2.0,1.0,0.5\n1,0.5,1.0,0.25\n0,,,\n"
    out = written(tmp_path, "reports/explain/occlusion.csv", rows)
    told = read_content([out], lambda out: tmp_path / out.path)
    cells = {"occlusion.parasitized.cells": 2, "occlusion.uninfected.cells": 1}
    assert told.params == cells
    assert {point.name: point.value for point in told.points} == {
        "occlusion.parasitized.mapped": 2,
        "occlusion.parasitized.pointing": 1,
        "occlusion.parasitized.fall_hottest": 1.25,
        "occlusion.parasitized.fall_mean": 1.0,
        "occlusion.parasitized.correlation": 0.375,
        "occlusion.uninfected.mapped": 0,
        "occlusion.uninfected.pointing": 0,
    }


def test_the_zips_size_is_told_without_the_zip() -> None:
    told = read_content([locked("data/raw/cell_images.zip", size=353_452_851)], lambda out: None)
    assert (told.params, told.points) == ({"bytes": 353_452_851}, [])
    assert told.missing == []


def test_large_files_are_dvcs_alone_but_for_the_model(tmp_path: Path) -> None:
    outs = [
        locked(path, LARGEST_ARTIFACT + 1) for path in ("data/images.npy", "models/model.keras")
    ]
    told = read_content(outs, lambda out: tmp_path / out.path)
    assert (list(told.files), told.missing) == (["models/model.keras"], [])


def test_files_that_are_nowhere_are_named_and_the_rest_is_told(tmp_path: Path) -> None:
    there = written(tmp_path, "reports/metrics.json", '{"test": {"mcc": 0.5, "f1": null}}')
    outs = [locked("models/model.keras"), there, locked("reports/history.csv")]
    told = read_content(outs, lambda out: tmp_path / out.path if out is there else None)
    assert told.missing == ["models/model.keras", "reports/history.csv"]
    assert told.headline == [Point("test.mcc", 0.5)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("reports/metrics.json", "[1]"),
        ("reports/metrics.json", "{"),
        ("reports/metrics.json", '{"test": {"note": "words"}}'),
        ("reports/history.csv", "loss\n0.5\n"),
        ("reports/history.csv", "epoch,loss\n1,\n"),
        ("reports/train.json", '{"recipe": {}}'),
        ("data/images.json", "{}"),
        ("reports/explain/occlusion.csv", "a,b\n"),
        ("reports/tables/groups.csv", ""),
    ],
)
def test_a_file_of_another_schema_is_named_kept_and_told_nothing_of(
    tmp_path: Path, path: str, text: str
) -> None:
    told = read_content([written(tmp_path, path, text)], lambda out: tmp_path / out.path)
    assert list(told.strange) == [path]
    assert (told.points, told.headline, told.params, told.tables) == ([], [], {}, {})
    assert list(told.files) == [path.partition("/")[2]]


def test_what_training_resolved_has_one_form_before_and_after() -> None:
    resolved = {"model": "m", "recipe": {"range": (0.9, 1.1), "rate": 1e-5, "none": None}}
    written_down = json.loads(json.dumps(resolved)) | {"kept_epoch": 3, "val_loss": 0.5}
    assert resolved_params(resolved) == resolved_params(written_down)
    assert resolved_params(resolved)["resolved.recipe.range"] == [0.9, 1.1]
