"""Two tables of scores: how strictly they are read, and that the gate's own code judges them."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.core.params import load
from malaria.errors import MalariaError
from malaria.gate import tables
from malaria.gate.judge import judge
from malaria.gate.judgement import Comparison
from malaria.gate.params import GateParams
from malaria.gate.tables import judge_tables, read_rules
from tests.conftest import REPO

from .test_judge import PARAMS, cells, files

GOOD = "id,group,label,score\na,g1,1,0.9\nb,g1,0,.2\nc,g2,1,1\nd,g2,0,1e-3\n"
HALF = (0.5, 0.5)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def table_of(frame: pd.DataFrame) -> str:
    """Return the test cells of predictions as a table."""
    names = {"cell_id": "id", "patient": "group", "probability": "score"}
    tested = frame[frame["split"] == "test"].rename(columns=names)
    return str(tested[["score", "label", "id", "group"]].to_csv(index=False))  # in any order


@pytest.mark.parametrize("loss", [0.0, 1.5])
def test_the_verdict_is_that_of_the_pipelines_own_files(tmp_path: Path, loss: float) -> None:
    frames = cells(), cells(loss=loss)
    base, head = (
        write(tmp_path / name, table_of(frame)) for name, frame in zip("ab", frames, strict=True)
    )
    found = judge_tables(base, head, HALF, PARAMS)
    own = judge(files(frames[1]), files(frames[0]), None, PARAMS, "a" * 40)
    assert found.outcome == own.outcome == ("fail" if loss else "pass")
    assert found.fingerprint == own.fingerprint
    assert found.head == own.head


def test_each_table_has_its_own_threshold_and_a_score_on_it_is_positive(tmp_path: Path) -> None:
    base, head = (write(tmp_path / name, GOOD.replace("0.9", "0.3")) for name in "ab")
    found = judge_tables(base, head, (0.5, 0.3), PARAMS)
    comparison = found.against["base"]
    assert isinstance(comparison, Comparison)
    difference = comparison.metrics["sensitivity"].difference
    assert (difference.base, difference.head) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has the column `id` 0 times in its header"),
        ("id,group,label,score\n", "has no row below its header"),
        ("id,group,score\na,g,0.5\n", "has the column `label` 0 times"),
        ("id,id,group,label,score\na,a,g,1,0.5\n", "has the column `id` 2 times"),
        *(
            (GOOD.replace("g1,1,", f"g1,{label},"), f"has the label {label!r} in line 2")
            for label in ("0.5", "1.0", "1e0", "2", "", " 1", "\u0661", "True")
        ),
        *(
            (GOOD.replace("0.9", score), f"has the score {score!r} in line 2")
            for score in ("nan", "inf", "-0.1", "1.1", "1e400", "", "0_1", "0x1", "\u0660.5")
        ),
        (GOOD.replace("b,g1", "a,g1"), "has the id 'a' more than once"),
        (GOOD.replace("a,g1", ",g1"), "has the id '' in line 2, which is no name"),
        (GOOD.replace("a,g1", "a,\u202e"), r"has the group '\\u202e' in line 2, which is no name"),
        (GOOD.replace("a,g1", '"a\nb",g1'), "which is no name"),
        (GOOD.replace("a,g1", "a,g1,0"), "has 5 values in line 2, but 4 in its header"),
        (GOOD.replace("a,g1", '"a,g1'), r"is no CSV in line 5 \(unexpected end of data\)"),
        (GOOD.replace("a,g1", "a\0,g1"), "has a NUL character"),
        (GOOD.encode("utf-16"), "is not UTF-8"),
        (GOOD.replace("a,g1", "a" * 10_000 + ",g1") * 2, "values|header|label"),
    ],
)
def test_whatever_is_no_such_table_is_refused_in_one_sentence(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    good, bad = write(tmp_path / "good.csv", GOOD), write(tmp_path / "bad.csv", text)
    with pytest.raises(MalariaError, match=rf"^\S*bad\.csv .*({said})") as refused:
        judge_tables(good, bad, HALF, PARAMS)
    assert len(str(refused.value).replace(str(tmp_path), "")) < 300
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("d,g2", "e,g2"), r"good\.csv has 1 ids that are not in \S*bad\.csv, as 'd'"),
        (GOOD + "e,g2,1,0.5\n", r"bad\.csv has 1 ids that are not in \S*good\.csv, as 'e'"),
        (GOOD.replace("a,g1", "a,g2"), r"another group for 1 ids, as 'a' \('g1' and 'g2'\)"),
        (GOOD.replace("g1,1", "g1,0"), r"another label for 1 ids, as 'a' \('1' and '0'\)"),
    ],
)
def test_other_cases_groups_or_labels_are_refused(tmp_path: Path, text: str, said: str) -> None:
    good, bad = write(tmp_path / "good.csv", GOOD), write(tmp_path / "bad.csv", text)
    with pytest.raises(MalariaError, match=said):
        judge_tables(good, bad, HALF, PARAMS)


def test_files_that_cannot_be_read_or_are_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write(tmp_path / "good.csv", GOOD)
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(MalariaError, match="cannot be read"):
            judge_tables(good, path, HALF, PARAMS)
    with pytest.raises(MalariaError, match="the threshold nan is outside 0 to 1"):
        judge_tables(good, good, (0.5, float("nan")), PARAMS)
    monkeypatch.setattr(tables, "MOST_GROUPS", 1)
    with pytest.raises(MalariaError, match="has 2 groups, more than 1"):
        judge_tables(good, good, HALF, PARAMS)
    monkeypatch.setattr(tables, "LARGEST_MB", 0)
    with pytest.raises(MalariaError, match="more than the 0 MB"):
        judge_tables(good, good, HALF, PARAMS)


def test_rules_are_the_repositorys_unless_a_file_says_otherwise(tmp_path: Path) -> None:
    default, path = REPO / "params.yaml", tmp_path / "params.yaml"
    ours = load(GateParams, default)
    assert read_rules(path, default, False) == ours
    with pytest.raises(MalariaError, match="is missing"):
        read_rules(path, default, True)
    path.write_text("train: {epochs: 1}\n")  # another project's
    assert read_rules(path, default, False) == ours
    with pytest.raises(MalariaError, match="has no mapping `gate`"):
        read_rules(path, default, True)
    path.write_text("gate: {level: 0.9}\n")
    assert read_rules(path, default, False) == ours.model_copy(update={"level": 0.9})
    path.write_text("gate: {levle: 0.9}\n")
    with pytest.raises(MalariaError, match=r"gate\.levle is not a known key"):
        read_rules(path, default, False)


def test_the_command_writes_comment_and_json_and_exits_with_the_gates_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "base.csv", table_of(cells()))
    write(tmp_path / "head.csv", table_of(cells(loss=1.5)))
    command = ["gate", "--files", "base.csv", "head.csv"]
    answer = CliRunner().invoke(cli.app, [*command, "--comment", "c.md", "--json", "g.json"])
    assert answer.exit_code == 1
    assert answer.output.startswith("head.csv: fail\n")
    assert (tmp_path / "c.md").read_text().startswith("## FAIL: worse than it may be\n")
    content = json.loads((tmp_path / "g.json").read_text())["head.csv"]
    assert (content["outcome"], content["exit_code"]) == ("fail", 1)
    assert CliRunner().invoke(cli.app, [*command[:2], "base.csv", "base.csv"]).exit_code == 0
    never = [*command, "--thresholds", "1", "1"]  # no case is positive, so nothing is lost
    assert CliRunner().invoke(cli.app, never).exit_code != 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--thresholds", "0.4", "0.4"], "--thresholds does nothing without --files"),
        (["--params", "x"], "--params does nothing without --files"),
        (["--files", "a", "b", "--evaluate-base"], "--evaluate-base does nothing with --files"),
        (["--files", "a", "b", "--base", "main"], "--base does nothing with --files"),
        (["--files", "a", "b", "--pictures", "x"], "--pictures does nothing with --files"),
    ],
)
def test_an_option_that_does_nothing_is_refused(options: list[str], said: str) -> None:
    answer = CliRunner().invoke(cli.app, ["gate", *options])
    assert isinstance(answer.exception, MalariaError)
    assert said in str(answer.exception)
