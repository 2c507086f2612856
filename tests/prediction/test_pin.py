"""The command that pins an external set, and the sets that params describe."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from malaria.cli.main import app
from malaria.core.params import load, parse
from malaria.errors import MalariaError
from malaria.prediction.params import EvaluateParams
from tests.conftest import REPO
from tests.data.test_pictures import deep
from tests.prediction.test_external import (
    CROPS,
    SICK,
    WRITERS,
    Write,
    crops,
    official,
    pinned,
    predicted,
    write_zip,
)

LAB_B: dict[str, Any] = {"name": "lab_b", "path": "lab_b.zip", "sha256": "0" * 64}


def pin(path: Path) -> Result:
    return CliRunner().invoke(app, ["pin", str(path), "--folder", "demo"])


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
    result = pin(path)
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


def test_the_number_of_patients_is_given_if_names_have_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", crops(2, of=official(12)))
    assert "2 parasitized and 2 uninfected cells, patients 1;" in pin(path).output


@WRITERS
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CROPS[SICK + "crop 5.png"][:60], "does not decode"),
        (deep("PNG", 1, 4095), "is 16-bit grey, not 8-bit RGB; scale it"),
        (b"GIF89a", "is not a PNG, JPEG or TIFF"),
        (b"", "is not a PNG"),
    ],
)
def test_a_damaged_image_is_named(
    write: Write, content: bytes, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "lab_b", CROPS | {SICK + "crop 5.png": content})
    with pytest.raises(MalariaError, match=rf"^evaluate\.external, lab_b: .*crop 5\.png' {reason}"):
        predicted(tmp_path, pinned(path))
    error = pin(path).exception
    assert isinstance(error, MalariaError)
    assert f"'Parasitized/crop 5.png' {reason}" in str(error)


def test_doubles_and_pictures_that_are_no_cells_are_told(tmp_path: Path) -> None:
    one, other = list(CROPS)[:2]
    path = write_zip(tmp_path / "a.zip", CROPS | {other: CROPS[one]})
    told = pin(path).output
    assert "# warning: 1 with the pixels of another cell\n" in told
    assert "# warning: 8 of 8 crops are unlike any cell of the set (40 to 400 px a side, " in told
    assert f"{one!r} is 20 x 20 px; " in told


@pytest.mark.parametrize("name", ["none.zip", "params.yaml"])
def test_no_set_to_pin_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("x")
    error = pin(tmp_path / name).exception
    assert isinstance(error, MalariaError)
    assert str(tmp_path / name) in str(error)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{"name": "test"}], "evaluate.external.0.name: 'test' is a split of the pipeline's cells"),
        ([{"name": "Lab B"}], "evaluate.external.0.name is 'Lab B': string should match pattern"),
        ([{"name": "x" * 31}], "string should match pattern"),
        ([{"name": 2018}], "evaluate.external.0.name is 2018: input should be a valid string"),
        ([{"path": ""}], "evaluate.external.0.path is ''"),
        ([{"sha256": "abc"}], "evaluate.external.0.sha256 is 'abc'"),
        ([{"hash": "abc"}], "external.0.hash is not a known key (allowed: name, path, sha256)"),
        ([{}, {"path": "other"}], "evaluate.external: the name 'lab_b' occurs more than once"),
    ],
)
def test_a_set_that_params_describe_wrongly_is_named(
    changes: list[dict[str, Any]], said: str
) -> None:
    values = {"threshold": "youden", "replicates": 100, "seed": 1}
    with pytest.raises(MalariaError) as caught:
        parse(EvaluateParams, values | {"external": [LAB_B | change for change in changes]})
    assert said in str(caught.value)


def test_the_path_of_a_set_in_the_repository_is_relative_to_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/dvc.yaml").touch()
    told = pin(write_zip(tmp_path / "sets.zip", CROPS)).stdout
    assert '"path": "../sets.zip"' in told
    assert str(tmp_path) not in told


@pytest.mark.parametrize(
    ("name", "what"), [("a.csv", "neither crops nor weights"), ("b", "missing")]
)
def test_what_cannot_be_pinned_is_named_before_a_folder_is_looked_for(
    tmp_path: Path, name: str, what: str
) -> None:
    (tmp_path / "a.csv").write_text("cell,label\n")
    told = CliRunner().invoke(app, ["pin", str(tmp_path / name)])
    assert str(told.exception).startswith(f"{tmp_path / name} is {what}; give a zip or a folder")
