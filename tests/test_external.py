"""External test sets: what is read, what is refused, and what their numbers are worth."""

import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from malaria.assessment import (
    UNKNOWN_PATIENTS,
    Settings,
    external_metrics,
    external_table,
    external_warnings,
)
from malaria.cli import app
from malaria.errors import MalariaError
from malaria.external import (
    COLUMNS,
    check_external,
    open_crops,
    predict_external,
    read_external,
    sha256_of_crops,
    write_external,
)
from malaria.intervals import interval_table
from malaria.metrics import NEEDS, Metrics, compute_metrics, write_metrics, write_table
from malaria.mirror import MIRROR
from malaria.params.base import load
from malaria.params.evaluate import EvaluateParams, ExternalSet
from tests.conftest import REPO, png, random_images

SICK, WELL = "Parasitized/", "Uninfected/"
SIZE = 12
Write = Callable[..., Path]
SETTINGS = Settings(threshold=0.5, temperature=1, rule="youden", replicates=200, seed=1)


def crops(count: int, of: str = "crop {}.png", seed: int = 0) -> dict[str, bytes]:
    """Return as many cells of each class, darker where parasitized; names are numbered on."""
    images = random_images(2 * count, 20, seed) // 2
    images[:count] += 100
    names = [WELL] * count + [SICK] * count
    return {
        folder + of.format(number): png(image)
        for number, (folder, image) in enumerate(zip(names, images, strict=True), start=1)
    }


CROPS = crops(4)


def official(patient: int, number: str = "{}") -> str:
    return f"C{patient}P9thinF_IMG_20150604_104722_cell_{number}.png"


def write_zip(path: Path, entries: Mapping[str, bytes], base: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(base + name, content)
    return path


def write_folder(path: Path, entries: Mapping[str, bytes], base: str = "") -> Path:
    for name, content in entries.items():
        file = path / base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


WRITERS = pytest.mark.parametrize("write", [write_zip, write_folder], ids=["zip", "folder"])


def pinned(path: Path, name: str = "lab_b") -> ExternalSet:
    return ExternalSet(name=name, path=str(path), sha256=sha256_of_crops(path))


def darkness(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (100 - images[rows].astype("float64").mean(axis=(1, 2, 3))) / 10


def predicted(folder: Path, *sets: ExternalSet) -> pd.DataFrame:
    """Return the predictions of the sets as an evaluation writes and reads them."""
    write_external(predict_external(sets, SIZE, darkness, folder), folder / "external.csv")
    return read_external(folder / "external.csv")


def refusal(path: Path) -> str:
    with pytest.raises(MalariaError) as caught, open_crops(path):
        pass
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def predictions(label: list[int], patients: Sequence[str | None]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    logit = rng.normal(size=len(label)) + 2 * (np.array(label) - 0.5)
    return pd.DataFrame(
        {
            "set": "lab_b",
            "cell_id": [f"crop {number}" for number in range(len(label))],
            "patient": pd.Series(patients, dtype="string"),
            "label": label,
            "logit": logit,
            "probability": 1 / (1 + np.exp(-logit)),
        }
    )


@WRITERS
@pytest.mark.parametrize("base", ["", "cell_images/"])
def test_any_names_in_the_two_folders_will_do(write: Write, base: str, tmp_path: Path) -> None:
    entries = CROPS | {SICK + "Thumbs.db": b"x", WELL + "Thumbs.db": b"x"}
    with open_crops(write(tmp_path / "lab_b", entries, base)) as found:
        assert [cell.entry for cell in found.cells] == sorted(
            (base + name for name in CROPS), key=lambda name: Path(name).name
        )
        assert [cell.cell_id for cell in found.cells] == [f"crop {n}" for n in range(1, 9)]
        assert [cell.label for cell in found.cells] == [0] * 4 + [1] * 4
        assert {cell.patient for cell in found.cells} == {""}


def test_a_zip_and_its_folder_give_the_same_cells_and_logits(tmp_path: Path) -> None:
    entries = dict(reversed(CROPS.items()))
    sets = [
        pinned(write_zip(tmp_path / "a.zip", CROPS, "cell_images/"), "a"),
        pinned(write_folder(tmp_path / "b", entries), "b"),
    ]
    table = predicted(tmp_path, *sets)
    assert list(table) == COLUMNS
    a, b = (table[table["set"] == name].drop(columns="set") for name in ("a", "b"))
    assert len(a) == 8
    assert a.reset_index(drop=True).equals(b.reset_index(drop=True))
    assert table["patient"].isna().all()
    first = darkness(random_images(8, 20) // 2 + 100, np.array([0]))
    assert a["logit"].iloc[0] == pytest.approx(first[0], abs=0.1)
    assert (a["probability"] > 0.5).tolist() == (a["label"] == 1).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b", "external.csv"]


def test_the_hash_of_a_folder_is_that_of_its_list(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", {SICK + "1.png": b"one", WELL + "2.png": b"two"})
    # (cd a && find Parasitized Uninfected -name '*.png' -exec sha256sum {} + | sort | sha256sum)
    expected = "b3ce531431d77695b573568d0cd8e765eea6456ea473f294667c12d763002f55"
    assert sha256_of_crops(folder) == expected
    (folder / SICK / "Thumbs.db").write_bytes(b"x")
    os.utime(folder / SICK / "1.png", (0, 0))
    assert sha256_of_crops(folder) == expected
    (folder / SICK / "1.png").rename(folder / WELL / "1.png")
    assert sha256_of_crops(folder) != expected


def test_official_names_tell_the_patients(tmp_path: Path) -> None:
    entries = crops(2, of=official(12)) | crops(2, of=official(3, "7{}"))
    with open_crops(write_zip(tmp_path / "a.zip", entries)) as found:
        assert sorted(cell.patient for cell in found.cells) == ["C12"] * 4 + ["C3"] * 4
    one_other = entries | {SICK + "C5_of_lab_b.png": b""}
    with open_crops(write_zip(tmp_path / "b.zip", one_other)) as found:
        assert {cell.patient for cell in found.cells} == {""}


def test_a_zip_is_taken_from_the_mirror_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror").mkdir()
    wanted = pinned(write_zip(tmp_path / "a.zip", CROPS))
    (tmp_path / "a.zip").rename(tmp_path / "mirror" / "other.zip")
    monkeypatch.delenv(MIRROR, raising=False)
    with pytest.raises(MalariaError, match=r"lab_b: '.*a\.zip' is neither .* is not set .*set"):
        predicted(tmp_path, wanted)
    monkeypatch.setenv(MIRROR, str(tmp_path / "mirror"))
    assert len(predicted(tmp_path, wanted)) == 8


@WRITERS
def test_bytes_that_are_not_the_pinned_ones_are_refused(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "lab_b", CROPS)
    wanted = pinned(path)
    write(path, CROPS | {SICK + "crop 8.png": png(random_images(1, 20)[0])})
    with pytest.raises(MalariaError) as caught:
        check_external([wanted])
    assert str(caught.value) == (
        f"evaluate.external, lab_b: {path} has SHA-256 {sha256_of_crops(path)}, but "
        f"{wanted.sha256} is pinned; bring the pinned cells back, or pin these with "
        f"`uv run malaria pin {path}`."
    )


@WRITERS
@pytest.mark.parametrize(
    "name",
    [
        "Malformed/1.png",
        "parasitized/1.png",
        "1.png",
        SICK + "deeper/1.png",
        SICK + "1.jpg",
        SICK + "1.PNG",
        SICK + ".png",
        SICK + "1\n.png",
        SICK + ".DS_Store",
        "cell_images/Malformed/1.png",
        "Thumbs.db",
    ],
)
def test_what_has_no_place_is_refused_by_its_name(write: Write, name: str, tmp_path: Path) -> None:
    base = "cell_images/" if name.startswith("cell_images/") else ""
    path = write(tmp_path / "lab_b", {base + SICK + "ok.png": b"", name: b""})
    said = refusal(path)
    assert "has no place in it: only PNG files and Thumbs.db in " in said
    assert f"{base}Parasitized/ and {base}Uninfected/ (in this very spelling)" in said
    assert repr(name) in said or f"'{Path(name).parent.as_posix()}/'" in said


def test_a_class_below_and_one_beside_cell_images_are_refused(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "a.zip", {"cell_images/Parasitized/1.png": b"", WELL + "2.png": b""}
    )
    assert "'Uninfected/2.png' has no place in it" in refusal(path)


@pytest.mark.parametrize("name", ["../" + SICK + "1.png", "/etc/1.png", SICK + "..\\1.png"])
def test_an_unsafe_name_in_a_zip_is_refused(name: str, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"")
    assert "has an unsafe name" in refusal(tmp_path / "a.zip")


def test_an_unsafe_name_in_a_folder_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "a", CROPS | {SICK + "..\\1.png": b""})
    assert "has an unsafe name" in refusal(path)


@pytest.mark.parametrize("link", [SICK + "1.png", "Uninfected"])
def test_a_link_in_a_folder_is_refused(link: str, tmp_path: Path) -> None:
    elsewhere = write_folder(tmp_path / "elsewhere", {WELL + "1.png": b""})
    path = write_folder(tmp_path / "a", {SICK + "2.png": b""})
    (path / link).symlink_to(elsewhere / ("Uninfected" if link == "Uninfected" else WELL + "1.png"))
    assert f"{link!r} is a symbolic link; put the file itself there" in refusal(path)


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(SICK + "1.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"/etc/passwd")
    assert "is a symbolic link" in refusal(tmp_path / "a.zip")


def test_what_is_neither_a_file_nor_a_folder_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "a", CROPS)
    os.mkfifo(path / SICK / "pipe.png")
    assert "'Parasitized/pipe.png' is neither a file nor a folder" in refusal(path)


@WRITERS
def test_a_name_in_both_classes_is_refused(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "lab_b", {SICK + "1.png": b"", WELL + "1.png": b""})
    assert "has the file name 1.png more than once" in refusal(path)


@WRITERS
def test_a_set_without_cells_is_refused(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "lab_b", {SICK + "Thumbs.db": b""})
    assert "has no cell; put PNG files into Parasitized/ and Uninfected/" in refusal(path)


def test_an_absurd_size_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "a", {SICK + "1.png": b""})
    with (path / SICK / "1.png").open("wb") as file:
        file.truncate(5 << 20)
    assert "declares 5242880 bytes, more than the 4194304" in refusal(path)


@WRITERS
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CROPS[SICK + "crop 5.png"][:60], "does not decode"),
        (b"GIF89a", "is not a PNG"),
        (b"", "is not a PNG"),
    ],
)
def test_a_damaged_image_is_named(
    write: Write, content: bytes, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "lab_b", CROPS | {SICK + "crop 5.png": content})
    with pytest.raises(MalariaError, match=rf"^evaluate\.external, lab_b: .*crop 5\.png' {reason}"):
        predicted(tmp_path, pinned(path))
    result = CliRunner().invoke(app, ["pin", str(path)])
    assert isinstance(result.exception, MalariaError)
    assert f"'Parasitized/crop 5.png' {reason}" in str(result.exception)


@pytest.mark.filterwarnings("error")
def test_no_set_is_two_headers(tmp_path: Path) -> None:
    table = predicted(tmp_path)
    assert (tmp_path / "external.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert external_metrics(table, 0.5) == {}
    assert list(external_warnings(table, table)) == []
    write_table(external_table(table, SETTINGS), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == (
        "set,cells,parasitized,metric,estimate,low,high,patients,reason\n"
    )


def test_names_that_look_like_missing_values_are_kept(tmp_path: Path) -> None:
    entries = {
        WELL + "NA.png": CROPS[WELL + "crop 1.png"],
        SICK + "007.png": CROPS[WELL + "crop 2.png"],
    }
    table = predicted(tmp_path, pinned(write_zip(tmp_path / "a.zip", entries), "null"))
    assert table["cell_id"].tolist() == ["007", "NA"]
    assert set(table["set"]) == {"null"}


def test_metrics_and_intervals_are_those_of_a_split_with_the_same_patients() -> None:
    label = [0, 1] * 60
    table = predictions(label, [f"C{number % 10}" for number in range(120)])
    assert external_metrics(table, 0.4) == {"lab_b": compute_metrics(table, 0.4)}
    rows = external_table(table, Settings(0.4, 1, "youden", 200, 1)).set_index("metric")
    expected = interval_table(table, 0.4, 200, 1).set_index("metric")
    columns = ["estimate", "low", "high", "patients", "reason"]
    pd.testing.assert_frame_equal(rows[columns], expected[columns])
    assert set(rows["cells"]) == {120}
    assert set(rows["parasitized"]) == {60}


def test_cells_of_unknown_patients_are_taken_for_independent_and_it_is_said() -> None:
    table = predictions([0, 1] * 60, [None] * 120)
    rows = external_table(table, SETTINGS).set_index("metric")
    expected = interval_table(table.assign(patient=table["cell_id"]), 0.5, 200, 1)
    assert (
        rows[["low", "high"]].to_numpy().tolist() == expected[["low", "high"]].to_numpy().tolist()
    )
    assert rows["patients"].isna().all()
    assert set(rows["reason"]) == {UNKNOWN_PATIENTS}
    assert math.isnan(external_metrics(table, 0.5)["lab_b"]["n_patients"])
    assert list(external_warnings(table, table)) == [f"external.lab_b: {UNKNOWN_PATIENTS}"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("label", "kept", "lacks"),
    [(1, "sensitivity", "uninfected"), (0, "specificity", "parasitized")],
)
@pytest.mark.parametrize("count", [1, 30])
def test_one_class_alone_leaves_null_and_the_reason(
    label: int, kept: str, lacks: str, count: int, tmp_path: Path
) -> None:
    table = predictions([label] * count, [None] * count)
    metrics = external_metrics(table, 0.5)
    write_metrics({}, metrics, tmp_path / "metrics.json")
    written = json.loads((tmp_path / "metrics.json").read_text())["external"]["lab_b"]
    assert list(written) == list(compute_metrics(predictions([0, 1], [None] * 2), 0.5))
    there = {"accuracy", "log_loss", "brier", "ece", kept}
    missing = set(external_table(table, SETTINGS)["metric"]) - there
    assert {name for name, value in written.items() if value is None} == {*missing, "n_patients"}
    assert written["accuracy"] == written[kept]
    rows = external_table(table, SETTINGS).set_index("metric")
    assert set(rows.loc[sorted(missing), "reason"]) == {f"no {lacks} cell"}
    assert rows.loc[sorted(missing), ["estimate", "low", "high"]].isna().all(axis=None)
    for name in there:
        assert round(rows.loc[name, "estimate"], 6) == written[name]


def test_each_metric_that_needs_a_class_is_known() -> None:
    metrics = set(compute_metrics(predictions([0, 1], [None] * 2), 0.5))
    assert set(NEEDS) < metrics


def test_the_splits_metrics_are_written_alone_where_there_is_no_set(tmp_path: Path) -> None:
    splits: dict[str, Metrics] = {"val": {"n_cells": 3, "mcc": 0.25}, "test": {"mcc": 0.5}}
    write_metrics(splits, {}, tmp_path / "metrics.json")
    assert (tmp_path / "metrics.json").read_text() == json.dumps(splits, indent=2) + "\n"


def test_patients_of_the_pipeline_are_called_out() -> None:
    own = [f"C{number}" for number in (2, 30, 4, 5, 6, 7, 800)]
    table = predictions([0, 1] * 7, own * 2)
    cells = pd.DataFrame(
        {
            "patient": ["C2", "C30", "C4", "C5", "C6", "C7", "C7", "C99"],
            "split": ["train"] * 5 + ["test"] * 3,
        }
    )
    assert list(external_warnings(table, cells)) == [
        "external.lab_b may be no external set: 6 of its 7 patients have names of the pipeline's "
        "own (5 in train, 1 in test): C2, C4, C5, C6, C7, ..."
    ]
    assert list(external_warnings(table, cells[cells["patient"] == "C99"])) == []


@WRITERS
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Lab B (2nd).v2", "lab_b_2nd_v2"),
        ("test", "external_test"),
        ("\N{GREEK SMALL LETTER MU}", "external"),
        ("2018", "2018"),
        ("x" * 40, "x" * 30),
        ('a: "quoted" {name}', "a_quoted_name"),
    ],
)
def test_the_line_that_pins_a_set_loads(write: Write, file: str, name: str, tmp_path: Path) -> None:
    path = write(tmp_path / (f"{file}.zip" if write is write_zip else file), CROPS)
    result = CliRunner().invoke(app, ["pin", str(path)])
    assert result.exit_code == 0, result.exception
    assert "# 4 parasitized and 4 uninfected cells, patients unknown" in result.output
    params = (REPO / "demo/params.yaml").read_text()
    assert params.count("external: []") == 1
    (tmp_path / "params.yaml").write_text(
        params.replace("external: []", f"external:\n{result.output}")
    )
    (loaded,) = load(EvaluateParams, tmp_path / "params.yaml").external
    assert (loaded.name, loaded.path) == (name, str(path))
    assert len(predicted(tmp_path, loaded)) == 8


def test_the_number_of_patients_is_told_where_names_tell_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", crops(2, of=official(12)))
    result = CliRunner().invoke(app, ["pin", str(path)])
    assert "2 parasitized and 2 uninfected cells, patients 1;" in result.output


@pytest.mark.parametrize("name", ["none.zip", "params.yaml"])
def test_no_set_to_pin_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("x")
    result = CliRunner().invoke(app, ["pin", str(tmp_path / name)])
    assert isinstance(result.exception, MalariaError)
    assert str(tmp_path / name) in str(result.exception)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "test"}, "evaluate.external.0.name: 'test' is a split of the cells themselves"),
        ({"name": "Lab B"}, "evaluate.external.0.name is 'Lab B': string should match pattern"),
        ({"name": "x" * 31}, "string should match pattern"),
        ({"name": 2018}, "evaluate.external.0.name is 2018: input should be a valid string"),
        ({"path": ""}, "evaluate.external.0.path is ''"),
        ({"sha256": "abc"}, "evaluate.external.0.sha256 is 'abc'"),
        ({"hash": "abc"}, "evaluate.external.0.hash is no known key (allowed: name, path, sha256)"),
    ],
)
def test_a_set_that_params_describe_wrongly_is_named(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    one = {"name": "lab_b", "path": "lab_b.zip", "sha256": "0" * 64}
    with pytest.raises(MalariaError) as caught:
        load(EvaluateParams, with_sets(tmp_path, one | change))
    assert said in str(caught.value)


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    one = {"name": "lab_b", "path": "lab_b.zip", "sha256": "0" * 64}
    with pytest.raises(MalariaError, match=r"evaluate\.external: the name 'lab_b' is there more"):
        load(EvaluateParams, with_sets(tmp_path, one, one | {"path": "other"}))


def with_sets(folder: Path, *sets: Mapping[str, object]) -> Path:
    """Return the demo's params with these external sets."""
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(REPO / "demo/params.yaml")
    content["evaluate"]["external"] = [dict(one) for one in sets]
    yaml.dump(content, folder / "params.yaml")
    return folder / "params.yaml"
