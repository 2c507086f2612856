"""The workflow's own steps on pull requests: a base in a bare repository, and four branches."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.checkout import change_params

from .conftest import Checkout, NewCheckout

# Patients enough to tell two models apart, and margins that a retraining of one keeps.
ENOUGH: dict[str, dict[str, Any]] = {
    "fetch": {"synthetic": {"infected_patients": 60, "healthy_patients": 30, "cells": 1500}},
    "train": {"epochs": 6},
}
MARGIN = 0.15


def propose(origin: Checkout, folder: Path, branch: str) -> Checkout:
    """Return a clone on a branch of its own, with the data that DVC has cached."""
    checkout = origin.copy(folder / branch)
    checkout.run("git", "switch", "-q", "-c", branch)
    return checkout


def steps(checkout: Checkout, bare: Path, folder: Path, branch: str) -> tuple[int, int, Checkout]:
    """Push the branch and run the workflow's steps in a fresh clone, without data; their codes."""
    checkout.run("git", "push", "-q", str(bare), branch)
    root = folder / f"{branch}-ci"
    checkout.run("git", "clone", "-q", "--branch", branch, str(bare), str(root))
    # The environment of the tests, with the clone's own library.
    here = {"UV_NO_SYNC": "1", "UV_PROJECT_ENVIRONMENT": sys.prefix, "PYTHONPATH": str(root)}
    clone = Checkout(root, {**checkout.env, **here, "GATE_BASE": "origin/main"})
    lock, gate = (
        clone.run("bash", ".ci/run", step, check=False).returncode for step in ("lock", "gate")
    )
    return lock, gate, clone


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_four_pull_requests_are_judged_as_they_deserve(
    new_checkout: NewCheckout, tmp_path: Path
) -> None:
    base = new_checkout("gated")
    shutil.rmtree(base.root / "pilot/reports")  # the demo's results alone are judged
    (base.root / "pilot/dvc.lock").unlink()
    change_params(base.demo / "params.yaml", ENOUGH)
    rules = {"margin": MARGIN, "floor": "none"}
    change_params(
        base.demo / "params.yaml",
        {"gate": {"metrics": {"sensitivity": rules, "specificity": rules, "roc_auc": rules}}},
    )
    base.dvc("repro")
    base.commit("results of the demo")
    base.run("git", "branch", "-M", "main")
    bare = tmp_path / "origin.git"
    base.run("git", "clone", "-q", "--bare", ".", str(bare))

    found = {}
    changes: dict[str, dict[str, dict[str, Any]]] = {
        "equal": {"train": {"seed": 7}},
        "better": {"train": {"epochs": 9}},
        "worse": {"train": {"epochs": 1, "learning_rate": 1e-7}},
    }
    for branch, values in changes.items():
        checkout = propose(base, tmp_path, branch)
        change_params(checkout.demo / "params.yaml", values)
        checkout.dvc("repro")
        checkout.commit(branch)
        found[branch] = steps(checkout, bare, tmp_path, branch)
    edited = propose(base, tmp_path, "edited")
    metrics = edited.demo / "reports/metrics.json"
    content = json.loads(metrics.read_text())
    content["test"]["sensitivity"] = 0.999
    metrics.write_text(json.dumps(content, indent=2) + "\n")
    edited.commit("edited")
    found["edited"] = steps(edited, bare, tmp_path, "edited")

    outcomes = {}
    for branch, (_, _, clone) in found.items():
        if branch != "edited":
            judged = json.loads((clone.root / "gate.json").read_text())
            outcomes[branch] = judged["demo"]["outcome"]
    assert outcomes == {"equal": "pass", "better": "pass", "worse": "fail"}
    codes = {branch: (lock, gate) for branch, (lock, gate, _) in found.items()}
    assert codes == {"equal": (0, 0), "better": (0, 0), "worse": (0, 1), "edited": (1, 2)}
    said = (found["worse"][2].root / "gate-comment.md").read_text()
    assert "## FAIL: worse than it may be" in said
    assert "<code>train&#46;epochs</code>" in said
    told = edited.run(sys.executable, "-m", "malaria", "lock-check", "demo", check=False).stdout
    assert "demo/reports/metrics.json was modified after evaluate left it" in told
