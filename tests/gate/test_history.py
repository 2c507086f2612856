"""The history of a branch's metrics: which commits count, what they say, how it is drawn."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.errors import MalariaError
from malaria.evaluation.intervals import metric_intervals
from malaria.gate import history
from malaria.gate.history import draw_history, read_history
from malaria.paths import METRICS, PREDICTIONS
from malaria.prediction.table import read_predictions, write_predictions
from tests.conftest import REPO
from tests.git_repo import git


def commit(root: Path, seed: int, threshold: float, tested: Sequence[str] = ("test",)) -> None:
    """Commit the results of a run on ten patients' cells."""
    draw = np.random.default_rng(seed)
    label = np.repeat([0, 1], 60)
    logit = np.round(draw.normal(2 * label - 1, 1.2), 6)
    cells = pd.DataFrame(
        {
            "cell_id": [f"cell{number}" for number in range(120)],
            "patient": [f"C{number % 10}" for number in range(120)],
            "split": np.resize([*tested, "val"], 120),
            "label": label,
            "logit": logit,
            "probability": 1 / (1 + np.exp(-logit)),
        }
    )
    (root / "pilot/reports").mkdir(parents=True, exist_ok=True)
    write_predictions(cells, root / "pilot" / PREDICTIONS)
    commit_metrics(root, {"test": {"threshold": threshold}}, f"seed {seed}")


def commit_metrics(root: Path, metrics: object, message: str) -> None:
    (root / "pilot" / METRICS).write_text(json.dumps(metrics))
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, 1, 0.5)
    commit(tmp_path, 2, 0.4)
    return tmp_path


def test_each_commit_has_its_own_numbers(root: Path) -> None:
    found = read_history(root, "main", "pilot", 100, 7)
    assert found.notes == []
    assert found.table["subject"].tolist() == ["seed 1"] * 3 + ["seed 2"] * 3
    assert found.table["test_set"].nunique() == 1
    now = read_predictions(root / "pilot" / PREDICTIONS)
    expected = metric_intervals(now[now["split"] == "test"], 0.4, 100, 7)
    for row in found.table[3:].itertuples():
        interval = expected[row.metric]
        assert (row.estimate, row.low, row.high) == (interval.estimate, interval.low, interval.high)


def test_commits_that_say_too_little_are_skipped_with_a_note(root: Path) -> None:
    commit_metrics(root, {"accuracy": 0.9}, "other metrics")
    (root / "pilot" / PREDICTIONS).write_text("cell,score\na,1\n")
    commit_metrics(root, {"test": {"threshold": 0.5}}, "other columns")
    git(root, "rm", "-q", f"pilot/{METRICS}")
    git(root, "commit", "-qm", "no metrics")
    found = read_history(root, "main", "pilot", 100, 7)
    assert len(found.table) == 6
    assert [note.partition(" ")[2] for note in found.notes] == [
        "(other metrics) is skipped: its reports/metrics.json has no test.threshold",
        "(other columns) is skipped: there is no column `cell_id`",
        "(no metrics) is skipped: it has no reports/metrics.json",
    ]


def test_odd_subjects_and_metrics_are_only_text(root: Path) -> None:
    subject = b"b\xffd \r\x0b\x1b[31m \xe2\x80\xa8" + b"x" * 5000
    (root / "message").write_bytes(subject + b"\n\nmore\n")
    (root / "pilot" / METRICS).write_text("[" * 100_000)
    git(root, "add", "pilot")
    git(root, "commit", "-q", "-F", "message")
    found = read_history(root, "main", "pilot", 100, 7)
    assert len(found.table) == 6
    (note,) = found.notes
    assert note.isprintable()
    assert len(note) < 300
    assert note.endswith("is skipped: its reports/metrics.json has no test.threshold")


def test_intervals_are_computed_once_for_the_same_predictions(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(root, 1, 0.5)  # back to the first
    computed = []

    def counted(*arguments: object) -> object:
        computed.append(arguments)
        return metric_intervals(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(history, "metric_intervals", counted)
    table = read_history(root, "main", "pilot", 100, 7).table
    assert len(computed) == 2
    assert table["estimate"][:3].tolist() == table["estimate"][6:].tolist()


def test_a_branch_without_results_is_refused(root: Path) -> None:
    with pytest.raises(MalariaError, match="no commit of 'main' has predictions and metrics of d"):
        read_history(root, "main", "demo", 100, 7)


def test_the_picture_has_the_same_bytes_for_the_same_numbers(root: Path) -> None:
    commit(root, 3, 0.5, tested=("test", "test", "train"))  # other test cells: a dotted line
    table = read_history(root, "main", "pilot", 100, 7).table
    assert table["test_set"].nunique() == 2
    for name in ("one.png", "two.png"):
        draw_history(table, root / name, "pilot on main")
    assert (root / "one.png").read_bytes() == (root / "two.png").read_bytes()
    assert Image.open(root / "one.png").size == (600, 450)


def test_the_command_leaves_a_table_and_a_picture_that_git_ignores(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", root)
    params = (REPO / "pilot/params.yaml").read_text().replace("replicates: 2000", "replicates: 100")
    (root / "pilot/params.yaml").write_text(params)
    (root / "pilot/dvc.yaml").touch()
    answer = CliRunner().invoke(
        cli.app, ["history", "--ref", "main"]
    )  # the pilot alone has results
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.endswith(
        "pilot/metrics_history.csv and its picture pilot/metrics_history.png\n"
    )
    heads, *rows = answer.stdout.splitlines()[:-1]
    names = ["commit", "date", "test_set", "sensitivity", "specificity", "roc_auc", "subject"]
    assert heads.split() == names
    assert len(rows) == 2  # one for each commit
    table = pd.read_csv(root / "pilot/metrics_history.csv")
    assert table["metric"].tolist() == ["sensitivity", "specificity", "roc_auc"] * 2
    (root / ".gitignore").write_bytes((REPO / ".gitignore").read_bytes())
    for file in ("pilot/metrics_history.csv", "pilot/metrics_history.png"):
        assert (root / file).is_file()
        assert git(root, "check-ignore", file) == file
