"""The commands of `malaria` beside the pipeline, as a user calls them."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import pandas as pd
import psutil
import pytest
from PIL import Image

from malaria.errors import MalariaError
from malaria.studies import lr_range

from .conftest import Checkout


def malaria(
    checkout: Checkout, *arguments: str, check: bool = True, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the checkout's own `malaria`."""
    command = [sys.executable, "-m", "malaria", *arguments]
    return checkout.run(*command, cwd=None, check=check, **env)


@pytest.fixture
def demo(finished: Checkout, tmp_path: Path) -> Iterator[Path]:
    """A copy of the finished demo's folder that a test may write to."""
    before = keras.config.dtype_policy()
    copy = tmp_path / "demo"
    shutil.copytree(finished.demo, copy, ignore=shutil.ignore_patterns("models", "raw"))
    yield copy
    keras.config.set_dtype_policy(before)


def test_the_learning_rate_range_leaves_a_curve_and_its_picture(demo: Path) -> None:
    output = lr_range.run(demo.parent, "demo", lowest=1e-6, highest=0.1, steps=12)
    assert output.startswith("demo/lr_range.png: ")
    curve = pd.read_csv(demo / "lr_range.csv")
    assert 1 < len(curve) <= 12
    assert curve["learning_rate"].iloc[0] == pytest.approx(1e-6)
    assert Image.open(demo / "lr_range.png").size == (700, 400)


def test_a_range_that_runs_backwards_is_refused(demo: Path) -> None:
    with pytest.raises(MalariaError, match=r"--lowest is 1; it must be below --highest, 0\.1"):
        lr_range.run(demo.parent, "demo", lowest=1, highest=0.1, steps=5)


def test_a_user_sees_one_sentence_and_quiet_libraries(finished: Checkout) -> None:
    result = malaria(finished, "lr-range", "--folder", "pilot", check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "malaria: pilot/data/cells.csv is missing; make it with "
        "`uv run dvc --cd pilot repro split preprocess`.\n"
    )


def test_help_names_every_command(finished: Checkout) -> None:
    output = malaria(finished, "--help").stdout
    for name in (
        *("subset", "collect", "results", "pin", "lr-range", "repeat", "summary", "audit"),
        *("lock-check", "history"),
    ):
        assert name in output


def test_what_commands_draw_is_not_committed_by_accident(finished: Checkout) -> None:
    drawn = ("lr_range.csv", "demo/lr_range.png", "dvc_plots/index.html", "pilot/dvc_plots/a.html")
    for file in drawn:
        assert finished.run("git", "check-ignore", file).stdout.strip() == file


@pytest.mark.slow
def test_a_stopped_series_leaves_no_process_and_says_how_to_resume(
    finished: Checkout, tmp_path: Path
) -> None:
    checkout = finished.copy(tmp_path)
    checkout.commit("results")
    process = checkout.start(
        *("-m", "malaria", "repeat", "--folder", "demo", "--name", "s", "--seeds", "1"),
        *("-S", "train.epochs=50"),
    )
    while not list((checkout.root / ".dvc/tmp/checkpoints").glob("*.npz")):
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "train: interrupted; whole epochs that are kept: " in said
    assert said.splitlines()[-1].startswith("malaria: interrupted; 0 of 1 runs have finished")
    folders = [process.info["cwd"] for process in psutil.process_iter(["cwd"])]
    assert not [folder for folder in folders if str(folder).startswith(str(tmp_path))]


@pytest.mark.slow
def test_a_series_goes_on_where_it_was_and_is_summed_up(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path)
    checkout.commit("results")
    series = ("repeat", "--folder", "demo", "--name", "s", "--seeds", "1,2", "-S")
    missing = ("train.model=resnet18", "-S", f"train.weights=arrays:{'0' * 64}")
    stopped = malaria(checkout, *series, *missing, check=False)
    assert stopped.returncode == 2
    assert "the DVC experiment s-seed1 failed" in stopped.stderr
    first = malaria(checkout, *series, "train.epochs=1")
    again = malaria(checkout, *series, "train.epochs=1")
    assert "0 of 2 have run already" in first.stderr
    assert "2 of 2 have run already" in again.stderr
    rows = pd.read_csv(checkout.demo / "series/s.csv")
    assert rows["experiment"].tolist() == ["s-seed1", "s-seed2", "mean", "sd"]
    assert rows["accuracy"][:2].mean() == pytest.approx(rows["accuracy"][2], abs=1e-6)
    others = malaria(checkout, *series, "train.epochs=3", check=False)
    assert others.returncode == 2
    assert "s-seed1 has run with other params or other code" in others.stderr
