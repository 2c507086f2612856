"""`malaria verify` on a pipeline that has really run: honest results, forged ones, edited code."""

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from malaria.pipeline.stages import md5_at
from malaria.prediction.table import with_probabilities, write_predictions

from .conftest import Checkout

pytestmark = pytest.mark.slow
MALARIA = (sys.executable, "-P", "-m", "malaria")
PREDICTIONS = "reports/predictions.csv"


def verify(checkout: Checkout, *options: str) -> tuple[int, str]:
    """Return the exit code and what the command says, run by the checkout's own code."""
    command = (*MALARIA, "verify", *options)
    result = checkout.run(*command, check=False, PYTHONPATH=str(checkout.root))
    return result.returncode, result.stdout + result.stderr


@pytest.fixture(scope="module")
def committed(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of the finished checkout whose results are committed; tests copy it again."""
    checkout = finished.copy(tmp_path_factory.mktemp("committed"))
    shutil.rmtree(checkout.root / "pilot/reports")  # its model is in no cache here
    checkout.commit("results of the demo")
    return checkout


@pytest.fixture
def copy(committed: Checkout, tmp_path: Path) -> Checkout:
    return committed.copy(tmp_path)


def forge(checkout: Checkout) -> None:
    """Write better predictions by hand, let all that follows be made anew, with all hashes."""
    demo = checkout.demo
    table = pd.read_csv(demo / PREDICTIONS)
    table["logit"] = table["label"] * 8.0 - 4 + table.index * 1e-4
    write_predictions(with_probabilities(table), demo / PREDICTIONS)
    checkout.dvc("commit", "--force", "predict")
    checkout.dvc("repro")
    checkout.run(*MALARIA, "lock-check", "demo", PYTHONPATH=str(checkout.root))  # exits with 0


def test_honest_predictions_are_made_again_to_the_last_digit(committed: Checkout) -> None:
    code, said = verify(committed, "--tolerance", "2e-6", "--seed", "5")
    assert code == 0, said
    counts = pd.read_csv(committed.demo / PREDICTIONS)["split"].value_counts()
    assert f"demo: ok: {counts['val']} of {counts['val']} val, " in said
    assert "cells predicted again (seed 5); the largest difference of a logit is" in said


def test_a_sample_is_another_one_each_time_unless_its_seed_is_given(committed: Checkout) -> None:
    code, said = verify(committed, "demo", "--cells", "7")
    assert code == 0
    assert "demo: ok: 7 of " in said
    assert ", 7 of " in said
    seed = said.partition("(seed ")[2].partition(")")[0]
    _, again = verify(committed, "demo", "--cells", "7")
    assert f"(seed {seed})" not in again


def test_predictions_written_by_hand_are_red(copy: Checkout) -> None:
    forge(copy)
    code, said = verify(copy)
    assert code == 1, said
    assert "demo: WRONG" in said
    assert ": the committed logit is " in said
    assert " more of " in said
    assert "nothing to verify" not in said


def test_a_revision_is_judged_without_the_work_tree(copy: Checkout) -> None:
    honest = copy.run("git", "rev-parse", "HEAD").stdout.strip()
    forge(copy)
    copy.commit("forged")
    forged = copy.run("git", "rev-parse", "HEAD").stdout.strip()
    copy.run("git", "checkout", "-q", honest)
    assert verify(copy, "--head", forged)[0] == 1  # however honest the work tree is
    shutil.rmtree(copy.demo / "reports")
    for file in ("dvc.lock", "params.yaml", "dvc.yaml"):
        (copy.demo / file).unlink()
    shutil.rmtree(copy.demo / "data")
    shutil.rmtree(copy.demo / "models")
    code, said = verify(copy, "--head", honest, "--retrain", "1")
    assert code == 0, said  # however broken it is


def test_a_clone_takes_data_and_model_from_the_remote(copy: Checkout, tmp_path: Path) -> None:
    copy.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    copy.dvc("push")
    copy.commit("a remote")
    copy.run("git", "clone", "-q", str(copy.root), str(tmp_path / "clone"))
    clone = Checkout(tmp_path / "clone", copy.env)
    code, said = verify(clone, "--head", "HEAD")
    assert code == 0, said
    assert not clone.run("git", "status", "--porcelain").stdout
    assert not list((clone.root / "demo").glob("verify-*"))


def test_training_code_whose_hash_alone_was_edited_is_red_when_trained(copy: Checkout) -> None:
    code, said = verify(copy, "--retrain", "1")
    assert code == 0, said
    assert "demo: ok: 1 epochs trained again" in said
    assert "demo: ok: 2 epochs trained again" in verify(copy, "--retrain", "9")[1]  # all it has
    before = md5_at(copy.demo, "malaria/training")
    file = copy.root / "malaria/training/batches.py"
    text = file.read_text()
    file.write_text(text.replace("default_rng([self._shuffle_seed, epoch])", "default_rng([1])"))
    assert file.read_text() != text
    lock = copy.demo / "dvc.lock"
    lock.write_text(lock.read_text().replace(before, md5_at(copy.demo, "malaria/training")))
    copy.commit("another order of the cells")
    checked = copy.run(*MALARIA, "lock-check", "demo", check=False, PYTHONPATH=str(copy.root))
    assert checked.returncode == 0, checked.stdout  # Git alone does not see it
    assert verify(copy, "--head", "HEAD")[0] == 0  # the model is the old one
    code, said = verify(copy, "--head", "HEAD", "--retrain", "1", "--history-tolerance", "1e-5")
    assert code == 1, said
    assert "loss of epoch 1 is " in said
    (copy.root / "malaria/training/train.py").write_text("import no_such_module\n")
    copy.commit("broken")
    code, said = verify(copy, "--head", "HEAD", "--retrain", "1")
    assert code == 2
    assert "did not train 1 epochs" in said
    assert "Traceback (most" not in said.partition("did not train")[0]
