"""Which files judge: found by imports, so that none is forgotten; and what the comment says."""

import subprocess
import sys
from pathlib import Path

import pytest

from malaria.gate.comment import overview
from malaria.gate.judging import changed_judges, changed_kept, is_judge, judging_code
from tests.conftest import REPO
from tests.git_repo import git, start_repository

LOADED = """\
import sys
from malaria.cli.main import app
try:
    app([{command}])
except SystemExit:
    pass
print(*(name for name in sys.modules if name.partition(".")[0] == "malaria"), sep="\\n")
"""


@pytest.mark.parametrize(
    "path",
    [
        *("malaria/gate/judge.py", "malaria/gate/comment.md.j2", "malaria/cli/gate.py"),
        *("malaria/core/params.py", "malaria/evaluation/metrics.py", "malaria/pipeline/git.py"),
        *("malaria/prediction/table.py", "malaria/report/page.py", "malaria/__init__.py"),
        *("malaria/gate/judge/__init__.py", "malaria/gate/judge.abi3.so", "malaria/paths/a.py"),
        *("malaria/gate/verify.py", "malaria/prediction/predict.py", "malaria/json.so"),
        *(".ci/run", ".github/workflows/gate.yml", ".github/zizmor.yml", "action.yml"),
        *("pyproject.toml", "uv.toml", "numpy.py", "numpy/__init__.py", "sitecustomize.py"),
        *("dvc.yaml", ".dvc/config", ".gitattributes", "pilot/dvc.yaml", "pilot/.dvc/config"),
        *("pilot/malaria", "demo/stages", "malaria", "docs"),  # as links
        *("pilot/reports/.gitattributes", "stages/.dvcignore", "experiments/a/dvc.yaml"),
        *("demo/.dvcignore", "pilot/x.dvc", "docs/.gitignore"),
    ],
)
def test_what_has_a_say_in_a_verdict(path: str) -> None:
    assert is_judge(path)


@pytest.mark.parametrize(
    "path",
    [
        *("README.md", "docs/gate.md", "tests/gate/test_judging.py", "stages/train.py"),
        *("malaria/training/train.py", "malaria/models/systems/vgg19_finetuned.py"),
        *("malaria/explanation/gradcam.py", "malaria/cli/doctor.py", "params.yaml", "dvc.lock"),
        *("pilot/reports/predictions.csv", "pilot/params.yaml", "benchmarks/gate.py"),
    ],
)
def test_what_is_judged_or_told(path: str) -> None:
    assert not is_judge(path)


@pytest.mark.parametrize(
    "command", ['"gate", "--base", "HEAD", "--head", "HEAD"', '"lock-check", "--head", "HEAD", "."']
)
def test_all_code_that_runs_when_a_commit_is_judged_is_among_it(command: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", LOADED.format(command=command)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    stems = {path.removesuffix(".py").removesuffix("/__init__") for path in judging_code()}
    names = {line for line in loaded if line.partition(".")[0] == "malaria" and " " not in line}
    assert "malaria.cli.gate" in names
    assert {name.replace(".", "/") for name in names} <= stems


def test_changed_files_have_odd_names_and_old_ones(tmp_path: Path) -> None:
    start_repository(tmp_path)
    odd = tmp_path / ".ci" / "a\n`@x` <b>\udcff"
    odd.parent.mkdir()
    odd.write_text("1")
    (tmp_path / "pyproject.toml").write_text("x = 1\n" * 20)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "base")
    base = git(tmp_path, "rev-parse", "HEAD")
    odd.rename(tmp_path / ".ci/b")
    git(tmp_path, "mv", "pyproject.toml", "README.md")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "renamed")
    expected = [".ci/a\n`@x` <b>\ufffd", ".ci/b", "pyproject.toml"]
    assert changed_judges(tmp_path, base, "HEAD") == expected
    (tmp_path / "action.yml").touch()
    assert changed_judges(tmp_path, base, None) == [
        ".ci/a\n`@x` <b>\ufffd",
        ".ci/b",
        "action.yml",
        "pyproject.toml",
    ]


def test_kept_results_that_change_or_go_are_named_and_new_ones_are_not(tmp_path: Path) -> None:
    start_repository(tmp_path)
    kept = ("experiments/a/metrics.json", "pilot/experiments/b/params.yaml", "pilot/series/cv.csv")
    same = ("experiments/same/metrics.json", "pilot/reports/metrics.json")
    for path in (*kept, *same):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("1")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "base")
    base = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "mv", "experiments/a", "experiments/best")
    (tmp_path / kept[1]).unlink()
    (tmp_path / kept[2]).write_text("2")
    (tmp_path / "pilot/reports/metrics.json").write_text("2")
    (tmp_path / "pilot/experiments/new").mkdir()
    (tmp_path / "pilot/experiments/new/params.yaml").touch()
    expected = ["experiments/a", "pilot/experiments/b", "pilot/series/cv.csv"]
    assert changed_kept(tmp_path, base, None) == expected
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "changed")
    assert changed_kept(tmp_path, base, "HEAD") == expected
    text = overview([], kept=expected)
    assert text.startswith("## This pull request changes or removes kept results\n")
    assert "- <code>pilot&#47;series&#47;cv&#46;csv</code>\n" in text
    assert "- and 4,970 more" in overview([], kept=["a"] * 5000)
    assert "kept results" not in overview([])


def test_the_comment_names_them_as_text_and_not_too_many() -> None:
    nasty = "<img src=x>\u202e@all |\n# PASS" + "\N{GRINNING FACE}" * 60_000
    text = overview([], [".ci/run", nasty])
    assert text.startswith("## This pull request changes what judges pull requests\n")
    assert "- <code>&#46;ci&#47;run</code>\n" in text
    assert "<img" not in text
    assert "\n# PASS" not in text
    assert "\u202e" not in text
    assert len(overview([], [f".ci/{number}" + "&" * 5000 for number in range(5000)])) < 200_000
    assert "- and 4,970 more" in overview([], [f".ci/{number}" for number in range(5000)])
    assert "what judges" not in overview([])
