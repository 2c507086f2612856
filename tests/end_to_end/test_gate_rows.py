"""Attacks and accidents on the gate, as pull requests to a bare repository, by the workflow's step.

Nothing is trained: the pilot's results are replaced by those of the gate's unit tests.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.checkout import change_params
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from tests.gate.test_judge import REASON, cells, files
from tests.gate.test_losses import rescored

from .conftest import Checkout, NewCheckout

BASE = cells(noise=0.3, seed=3)
RULES = {
    "gate": {
        "metrics": {
            "sensitivity": {"margin": 0.01, "floor": "none"},
            "specificity": {"margin": 0.05, "floor": "none"},
            "roc_auc": {"margin": 0.05, "floor": "none"},
        },
        "replicates": 1000,
    }
}
Change = Callable[[Checkout, str], None]  # gets the base's commit


def leave(checkout: Checkout, frame: pd.DataFrame) -> None:
    found = files(frame)
    (checkout.root / "pilot/reports").mkdir(exist_ok=True)
    (checkout.root / "pilot" / PREDICTIONS).write_bytes(found.predictions)
    (checkout.root / "pilot" / METRICS).write_bytes(found.metrics)


def decide(checkout: Checkout, word: str, commit: str) -> None:
    file = checkout.root / "pilot" / PARAMS
    text = file.read_text()
    assert f"{word}: none" in text
    file.write_text(
        text.replace(f"{word}: none", f"{word}: {{commit: {commit}, reason: {REASON}}}")
    )


def results(frame: pd.DataFrame) -> Change:
    return lambda checkout, _: leave(checkout, frame)


def worse(word: str) -> Change:
    def change(checkout: Checkout, base: str) -> None:
        leave(checkout, rescored(BASE, BASE["label"] == 1, -1.5))
        decide(checkout, word, base)

    return change


def deleted(checkout: Checkout, _: str) -> None:
    shutil.rmtree(checkout.root / "pilot/reports")


def retired(checkout: Checkout, base: str) -> None:
    deleted(checkout, base)
    decide(checkout, "retired", base)


def linked(checkout: Checkout, _: str) -> None:
    file = checkout.root / "pilot" / PREDICTIONS
    file.rename(checkout.root / "elsewhere.csv")
    file.symlink_to("../../elsewhere.csv")


def header_only(checkout: Checkout, _: str) -> None:
    file = checkout.root / "pilot" / PREDICTIONS
    file.write_text(file.read_text().splitlines(keepends=True)[0])


def nested(checkout: Checkout, _: str) -> None:
    (checkout.root / "pilot" / METRICS).write_text("[" * 100_000)


def hidden(checkout: Checkout, _: str) -> None:
    with (checkout.root / "pilot" / PARAMS).open("a") as params:
        params.write("gate.level: 0.5\n")


def loosened(checkout: Checkout, _: str) -> None:
    rules = {"sensitivity": {"margin": 0.9, "floor": "none"}}
    change_params(checkout.root / "pilot" / PARAMS, {"gate": {"metrics": rules}})


ROWS: dict[str, tuple[Change, int, str]] = {
    "equal": (results(rescored(BASE, BASE["label"] == 1, 0.001)), 0, "pass"),
    "unsure": (results(cells(noise=0.3, seed=2)), 3, "inconclusive"),
    "collapsed": (
        results(rescored(BASE, (BASE["patient"] == "C4") & (BASE["label"] == 1), -12)),
        1,
        "fail",
    ),
    "accepted": (worse("accept_loss"), 0, "loss_accepted"),
    "reset": (worse("baseline_reset"), 1, "fail"),
    "deleted": (deleted, 1, "gone"),
    "retired": (retired, 0, "retired"),
    "loosened": (loosened, 0, "pass"),
    "linked": (linked, 2, "is a symbolic link"),
    "header": (header_only, 2, "has a header, but no rows"),
    "nested": (nested, 2, "is not JSON with the key test.threshold"),
    "hidden": (hidden, 2, "has the key 'gate.level'"),
    "floats": (
        results(BASE.astype({"label": float})),
        2,
        "which is not written as 0 or 1",
    ),
    "moved": (
        results(BASE.replace({"patient": {f"C{number}": "C2" for number in range(3, 8)}})),
        2,
        "200 of the 800 test cells that base and pull request share have another patient",
    ),
    "left out": (
        results(BASE.drop(index=range(40, 50))),
        2,
        "10 of the base's 800 test cells are not in the pull request's predictions",
    ),
}


class Origin:
    """A bare repository, to which pull requests are made."""

    def __init__(self, base: Checkout, folder: Path) -> None:
        self.base, self.folder = base, folder
        self.bare = folder / "origin.git"
        base.run("git", "clone", "-q", "--bare", ".", str(self.bare))

    def judge(self, name: str, change: Change) -> tuple[int, str, Checkout]:
        """Return exit code and output of the workflow's step on a pull request, and its clone."""
        branch = name.replace(" ", "-")
        tip = self.base.run("git", "rev-parse", "main").stdout.strip()
        self.base.run("git", "switch", "-q", "-c", branch, "main")
        change(self.base, tip)
        self.base.commit(name)
        self.base.run("git", "push", "-q", str(self.bare), branch)
        self.base.run("git", "switch", "-q", "main")
        root = self.folder / branch
        self.base.run("git", "clone", "-q", "--branch", branch, str(self.bare), str(root))
        here = {"UV_NO_SYNC": "1", "UV_PROJECT_ENVIRONMENT": sys.prefix, "PYTHONPATH": str(root)}
        clone = Checkout(root, {**self.base.env, **here, "GATE_BASE": "origin/main"})
        ran = clone.run("bash", ".ci/run", "gate", check=False)
        return ran.returncode, ran.stdout + ran.stderr, clone

    def merge(self, name: str, change: Change) -> None:
        """Merge a pull request, whatever the gate says."""
        branch = name.replace(" ", "-")
        tip = self.base.run("git", "rev-parse", "main").stdout.strip()
        self.base.run("git", "switch", "-q", "-c", branch, "main")
        change(self.base, tip)
        self.base.commit(name)
        self.base.run("git", "switch", "-q", "main")
        self.base.run("git", "merge", "-q", "--no-ff", "-m", f"Merge {name}", branch)
        self.base.run("git", "push", "-q", str(self.bare), "main")


@pytest.fixture(scope="module")
def origin(new_checkout: NewCheckout, tmp_path_factory: pytest.TempPathFactory) -> Origin:
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    base = new_checkout("rows")
    change_params(base.root / "pilot" / PARAMS, RULES)
    leave(base, BASE)
    base.commit("results")
    base.run("git", "branch", "-M", "main")
    return Origin(base, tmp_path_factory.mktemp("origin"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_each_pull_request_gets_its_exit_code(origin: Origin, name: str) -> None:
    change, code, said = ROWS[name]
    found, printed, clone = origin.judge(name, change)
    assert found == code, printed
    assert "Traceback" not in printed
    if code == 2:
        (sentence,) = [line for line in printed.splitlines() if said in line]
        assert sentence.startswith("malaria: ")
        return
    judged = json.loads((clone.root / "gate.json").read_text())
    assert judged["pilot"]["outcome"] == said
    text = (clone.root / "gate-comment.md").read_text()
    if name in ("accepted", "loosened"):  # what a reviewer must see comes first
        first = {"accepted": "Accepted loss in", "loosened": "This pull request changes rules"}
        assert text.startswith(f"## {first[name]}")


@pytest.mark.slow
def test_drift_and_deleted_results_are_seen_over_several_merges(origin: Origin) -> None:
    steps = [rescored(BASE, BASE["label"] == 1, -0.2 * step) for step in range(7)]
    for number in range(1, 6):
        origin.merge(f"step {number}", results(steps[number]))
    code, printed, _ = origin.judge("drifted", results(steps[6]))
    assert (code, "sensitivity against the reference: worse by" in printed) == (1, True), printed
    origin.merge("emptied", deleted)
    code, printed, _ = origin.judge(
        "first again", results(rescored(BASE, BASE["label"] == 1, -2.5))
    )
    assert (code, "sensitivity against the base: worse by" in printed) == (1, True), printed
