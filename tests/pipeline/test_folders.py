"""Which folder a command works on: the one that is named, the working folder, or the ready one."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.cli import root as cli_root
from malaria.errors import MalariaError
from malaria.pipeline.folders import default_folder, find_folder, folders_with

MODEL = "models/model.keras"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in (".", "pilot", "demo"):
        (tmp_path / folder / "models").mkdir(parents=True)
        (tmp_path / folder / "dvc.yaml").touch()
    return tmp_path


def test_a_folder_is_named_in_any_way(root: Path) -> None:
    for given in ("demo", "demo/", "./demo", "pilot/../demo", str(root / "demo")):
        assert find_folder(root, given) == "demo"
    assert find_folder(root, ".") == find_folder(root, str(root)) == "."


@pytest.mark.parametrize("given", ["nosuch", "models", "..", "/"])
def test_a_folder_without_a_pipeline_is_refused(root: Path, given: str) -> None:
    with pytest.raises(MalariaError, match=r"has no dvc\.yaml; name a folder .*\., pilot, demo"):
        find_folder(root, given)


def test_the_only_folder_with_a_model_is_the_default(root: Path) -> None:
    def default(here: Path) -> str:
        return default_folder(root, here, folders_with(root, MODEL), MODEL)

    with pytest.raises(MalariaError, match=r"no pipeline has models/model\.keras; run one"):
        default(root)
    (root / "demo" / MODEL).touch()
    assert default(root) == default(root.parent) == "demo"
    assert default(root / "pilot/models") == "pilot"  # where a person works
    (root / "pilot" / MODEL).touch()
    with pytest.raises(MalariaError, match=r"pilot and demo have models/model\.keras; choose one"):
        default(root)


@pytest.mark.parametrize(
    "command",
    [
        *(["predict", "cell.png"], ["register"], ["promote", "--reason", "x"], ["history"]),
        *(["repeat", "--name", "s", "--seeds", "1"], ["summary", "s"], ["audit", "s"]),
        *(["collect"], ["lr-range"]),
    ],
)
def test_every_command_refuses_a_wrong_folder_in_the_same_words(
    root: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", root)
    result = CliRunner().invoke(cli.app, [*command, "--folder", "nosuch"])
    assert str(result.exception) == (
        "nosuch has no dvc.yaml; name a folder with a pipeline (., pilot, demo)."
    )


def test_a_command_says_which_folder_it_took(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_root, "ROOT", root)
    (root / "demo" / MODEL).touch()
    assert cli_root.chosen(None) == "demo"
    assert capsys.readouterr().err == "malaria: the folder is demo; --folder names another\n"
    assert cli_root.chosen("pilot") == "pilot"
    assert capsys.readouterr().err == ""
