"""How stages and commands start: in another environment, with files missing, interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from malaria.cli import root
from malaria.cli.main import app
from malaria.studies.repeats import run_to_the_end
from tests.conftest import REPO
from tests.git_repo import git

STAGE = ("stages", "fetch")
OLD = """
import runpy, sys
sys.version_info = (3, 9, 0, "final", 0)
sys.argv = ["stages", "fetch"]
runpy.run_path("stages", run_name="__main__")
"""
# Our modules that import Keras, MLflow or cleanlab, which takes seconds.
SLOW = (
    "registry.classifier",
    "registry.promote",
    "registry.register",
    "studies.audit",
    "studies.lr_range",
    "tracking.lineage",
    "tracking.sync",
    "tracking.ui",
)


def bare_python(*arguments: str, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run this Python without its packages, but with the modules in a folder."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-S", *arguments], cwd=REPO, env=env, capture_output=True, text=True
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs a command in a repository without results or slow modules."""
    git(tmp_path, "init", "-q")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/dvc.yaml").touch()
    monkeypatch.setattr(root, "ROOT", tmp_path)
    for name in SLOW:
        monkeypatch.setitem(sys.modules, f"malaria.{name}", None)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.parametrize(
    ("how", "said"), [(STAGE, "lacks the package pydantic"), (("-c", OLD), "is Python 3.9")]
)
def test_a_stage_in_another_environment_says_how_to_run_it(how: tuple[str, ...], said: str) -> None:
    ended = bare_python(*how)
    assert (ended.returncode, ended.stdout) == (1, "")
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith(f"fetch: {sys.executable} {said}: ")
    assert "start it as `uv run dvc ...`" in sentence


@pytest.mark.parametrize(
    ("what", "module", "said"),
    [(STAGE, "pydantic", "fetch"), (("-m", "malaria", "doctor"), "typer", "malaria")],
)
def test_an_interrupt_while_packages_are_imported_is_no_traceback(
    tmp_path: Path, what: tuple[str, ...], module: str, said: str
) -> None:
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt")
    ended = bare_python(*what, path=tmp_path)
    assert ended.returncode == 130
    assert ended.stderr == f"{said}: interrupted before it began; run the same command again.\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("predict", "nowhere.png", "--folder", "demo"), "nowhere.png is not a file"),
        (("predict", REPO / "README.md", "--folder", "demo"), "records no demo/models/model.keras"),
        (("lr-range", "--folder", "demo"), "demo/data/cells.csv is missing"),
        (("audit", "cv", "--folder", "demo"), "no DVC experiment belongs to a series 'cv'"),
        (("register", "--folder", "demo"), "records no demo/models/model.keras"),
        (("sync", "--rev", "nothing"), "no commit is called 'nothing'"),
    ],
)
def test_what_is_missing_is_said_before_anything_slow_starts(
    quick: Callable[..., Result], command: tuple[str, ...], said: str
) -> None:
    ended = quick(*command)
    assert said in str(ended.exception)
    assert not ended.output


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("ui",), "MLflow's interface starts"),
        (("runs", "f" * 32), "MLflow's store is searched"),
        (("promote", "--reason", "x", "--folder", "demo"), "the candidate is compared"),
    ],
)
def test_what_is_slow_says_first_what_it_does(
    quick: Callable[..., Result], command: tuple[str, ...], said: str
) -> None:
    ended = quick(*command)
    assert isinstance(ended.exception, ModuleNotFoundError)  # of what is slow, which comes next
    assert ended.stderr.startswith(f"malaria: {said}")
    assert not ended.stdout


def test_an_interrupted_command_says_how_to_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("malaria.studies.results.write_results", interrupted)
    monkeypatch.setattr("malaria.studies.repeats._has_run", lambda *them: "seed1" in str(them))
    monkeypatch.setattr("malaria.studies.repeats.run_to_the_end", interrupted)
    results = CliRunner().invoke(app, ["results"])
    assert results.exit_code == 130
    assert results.stderr == (
        "malaria: interrupted; no file is left half written; run the same command again.\n"
    )
    repeat = CliRunner().invoke(
        app, ["repeat", "--folder", "demo", "--name", "s", "--seeds", "1,2"]
    )
    assert repeat.exit_code == 130
    assert repeat.stderr.splitlines()[-1] == (
        "malaria: interrupted; 1 of 2 runs have finished and are kept, and so are the whole epochs "
        "of s-seed2; the same command resumes the series."
    )


def test_an_interrupted_series_leaves_no_process(tmp_path: Path) -> None:
    """Not even one that does not listen, as a background process of a shell does not."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_to_the_end(["sh", "-c", "sleep 600 & echo $! > pid; wait"], tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
