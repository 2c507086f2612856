"""The commands of `malaria` beside the pipeline, as a user calls them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from .conftest import Checkout, NewCheckout


def malaria(
    checkout: Checkout, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the checkout's own `malaria`."""
    return checkout.run(sys.executable, "-m", "malaria.cli", *arguments, check=check)


@pytest.fixture(scope="module")
def demo(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the finished demo that these tests may write to."""
    return finished.copy(tmp_path_factory.mktemp("commands"))


def test_the_learning_rate_range_leaves_a_curve_and_its_picture(demo: Checkout) -> None:
    arguments = ("--folder", "demo", "--lowest", "1e-6", "--highest", "0.1", "--steps", "12")
    output = malaria(demo, "lr-range", *arguments).stdout
    assert "demo/lr_range.png: suggests a learning rate of " in output
    curve = pd.read_csv(demo.demo / "lr_range.csv")
    assert 1 < len(curve) <= 12
    assert curve["learning_rate"].iloc[0] == pytest.approx(1e-6)
    assert Image.open(demo.demo / "lr_range.png").size == (700, 400)
    assert demo.run("git", "status", "--porcelain", "demo/lr_range.csv").stdout == ""  # ignored


def test_a_range_that_runs_backwards_is_refused(demo: Checkout) -> None:
    arguments = ("--folder", "demo", "--lowest", "1", "--highest", "0.1")
    result = malaria(demo, "lr-range", *arguments, check=False)
    assert result.returncode == 2
    assert "--lowest is 1; it must be below --highest, 0.1" in result.stderr
    assert "Traceback" not in result.stderr


def test_augmentation_that_is_off_has_no_picture(demo: Checkout) -> None:
    result = malaria(demo, "augmentation", "--folder", "demo", check=False)
    assert result.returncode == 2
    assert "augment is off for basic_cnn" in result.stderr


def test_the_picture_of_the_augmentation_has_a_row_for_each_cell(
    demo: Checkout, tmp_path: Path
) -> None:
    copy = demo.copy(tmp_path)
    yaml = YAML()
    params = yaml.load(copy.demo / "params.yaml")
    params["augment"] |= {"rotation_range": 40, "stain_jitter": 0.2}
    yaml.dump(params, copy.demo / "params.yaml")
    output = malaria(copy, "augmentation", "--folder", "demo", "--cells", "3").stdout
    assert "demo/augmentation.png: the engines differ by at most " in output
    assert float(output.split("at most ")[1].split()[0]) < 1e-2
    assert Image.open(copy.demo / "augmentation.png").size == (950, 449)


def test_commands_say_which_stages_make_what_they_need(new_checkout: NewCheckout) -> None:
    checkout = new_checkout("bare")
    result = malaria(checkout, "augmentation", "--folder", "demo", check=False)
    assert result.returncode == 2
    assert "demo/data/cells.csv is missing" in result.stderr
    assert "dvc repro demo/dvc.yaml:split demo/dvc.yaml:preprocess" in result.stderr


def test_help_names_every_command(demo: Checkout) -> None:
    output = malaria(demo, "--help").stdout
    for name in ("subset", "collect", "results", "lr-range", "augmentation"):
        assert name in output


@pytest.mark.slow
def test_queued_experiments_of_three_models_are_collected(
    finished: Checkout, tmp_path: Path
) -> None:
    checkout = finished.copy(tmp_path)
    checkout.run("git", "add", "-A")
    checkout.run("git", "commit", "-q", "--no-verify", "-m", "results")
    models = ("basic_cnn", "cnn_se", "cnn_leaky")
    checkout.dvc(
        "exp",
        "run",
        "--queue",
        "demo/dvc.yaml",
        "-S",
        f"demo/params.yaml:train.model={','.join(models)}",
        "--name",
        "of",
    )
    checkout.dvc("exp", "run", "--run-all")
    shutil.rmtree(checkout.demo / "experiments", ignore_errors=True)
    written = malaria(checkout, "collect", "--folder", "demo").stdout.split()
    trained = set()
    for folder in written:
        params = (checkout.root / folder / "params.yaml").read_text()
        trained |= {model for model in models if f"model: {model}\n" in params}
        assert (checkout.root / folder / "metrics.json").read_text().startswith("{")
    assert trained == set(models)
