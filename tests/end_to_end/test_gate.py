"""The workflow's own steps on pull requests: a base in a bare repository, and six branches."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.checkout import change_params
from malaria.core.yaml_files import read_yaml
from malaria.gate.comment import code

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


@dataclass(frozen=True)
class Judged:
    """What the workflow made of a branch: exit codes by step, its answer, and what it left."""

    codes: dict[str, int]
    answer: int
    root: Path
    printed: str

    @property
    def comment(self) -> str:
        return (self.root / "gate-comment.md").read_text()

    @property
    def outcome(self) -> str:
        return str(json.loads((self.root / "gate.json").read_text())["demo"]["outcome"])


def workflow(
    checkout: Checkout, bare: Path, folder: Path, branch: str, decided: str = "skipped"
) -> Judged:
    """Push the branch and run the workflow as GitHub does: in a clone of main, without data."""
    root = folder / f"{branch}-ci"
    checkout.run("git", "clone", "-q", "--single-branch", "-b", "main", str(bare), str(root))
    checkout.run("git", "push", "-q", str(bare), branch)
    head = checkout.run("git", "rev-parse", "HEAD").stdout.strip()
    assert (root / ".ci/run").is_file()
    written = read_yaml(root / ".github/workflows/gate.yml")
    # The environment of the tests, with the clone's own library.
    here = {"UV_NO_SYNC": "1", "UV_PROJECT_ENVIRONMENT": sys.prefix, "PYTHONPATH": str(root)}
    base = checkout.run("git", "rev-parse", "main", cwd=bare).stdout.strip()
    here |= {"GATE_BASE": base, "GATE_HEAD": head, "GITHUB_OUTPUT": str(folder / f"{branch}-out")}
    clone = Checkout(root, {**checkout.env, **here})
    codes, printed, results = {}, "", {}
    for job in ("judge", "verify"):
        has_failed = False
        for step in written["jobs"][job]["steps"]:
            if "run" not in step or (has_failed and "cancelled" not in step.get("if", "")):
                continue
            assert set(step.get("env", {})) <= {
                *("GH_TOKEN", "MLFLOW_TRACKING_URI", "GATE_PICTURES"),
                *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            }
            result = clone.run("bash", "-c", step["run"], check=False)
            codes[step["run"].split()[-1]] = result.returncode
            printed += result.stdout + result.stderr
            is_red = result.returncode != 0 and not step.get("continue-on-error")
            has_failed = has_failed or is_red
        results[job] = "failure" if has_failed else "success"
    output = folder / f"{branch}-out"
    verdict = output.read_text().strip().removeprefix("verdict=") if output.exists() else ""
    (answer,) = [step["run"] for step in written["jobs"]["gate"]["steps"] if "run" in step]
    answered = clone.run(
        *("bash", "-c", answer),
        check=False,
        JUDGED=results["judge"],
        VERDICT=verdict,
        VERIFIED=results["verify"],
        DECIDED=decided,
    )
    return Judged(codes, answered.returncode, root, printed)


def bribe(checkout: Checkout) -> list[str]:
    """Let all that could judge answer 0, and put modules before those of the tools."""
    for file in ("malaria/cli/gate.py", "malaria/gate/judge.py", "malaria/core/params.py"):
        with (checkout.root / file).open("a") as code:
            code.write("\nraise SystemExit(0)\n")
    for file in (".ci/run", ".ci/answer"):
        (checkout.root / file).write_text("exit 0\n")
    gate = checkout.root / ".github/workflows/gate.yml"
    gate.write_text(gate.read_text().replace("bash .ci/run gate", "true"))
    with (checkout.root / "pyproject.toml").open("a") as project:
        project.write("\n# another version of a tool\n")
    shadows = ("dvc.py", "demo/dvc.py", "sitecustomize.py", "malaria/gate/judge/__init__.py")
    for file in shadows:
        (checkout.root / file).parent.mkdir(exist_ok=True)
        (checkout.root / file).write_text("raise SystemExit(0)\n")
    return [
        *("malaria/cli/gate.py", "malaria/gate/judge.py", "malaria/core/params.py", ".ci/run"),
        *(".ci/answer", ".github/workflows/gate.yml", "pyproject.toml", "dvc.py"),
        *("sitecustomize.py", "malaria/gate/judge/__init__.py"),
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_pull_requests_are_judged_as_they_deserve(
    new_checkout: NewCheckout, tmp_path: Path
) -> None:
    base = new_checkout("gated")
    shutil.rmtree(base.root / "pilot/reports")  # the demo's results alone are judged
    (base.root / "pilot/dvc.lock").unlink()
    base.run(sys.executable, "-m", "malaria", "results")
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

    found: dict[str, Judged] = {}
    checkouts: dict[str, Checkout] = {}
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
        checkouts[branch] = checkout
        found[branch] = workflow(checkout, bare, tmp_path, branch)
    edited = propose(base, tmp_path, "edited")
    metrics = edited.demo / "reports/metrics.json"
    content = json.loads(metrics.read_text())
    content["test"]["sensitivity"] = 0.999
    metrics.write_text(json.dumps(content, indent=2) + "\n")
    edited.commit("edited")
    found["edited"] = workflow(edited, bare, tmp_path, "edited")
    bribed = propose(checkouts["worse"], tmp_path, "bribed")
    judges = bribe(bribed)
    bribed.commit("bribed")
    found["bribed"] = workflow(bribed, bare, tmp_path, "bribed", decided="success")
    named = propose(base, tmp_path, "named")
    bribe(named)
    named.commit("named")
    found["named"] = workflow(named, bare, tmp_path, "named")

    outcomes = {branch: one.outcome for branch, one in found.items() if branch != "edited"}
    assert outcomes == {
        **{"equal": "pass", "better": "pass", "worse": "fail", "bribed": "fail", "named": "pass"}
    }
    assert {branch: (one.codes["lock"], one.codes["gate"]) for branch, one in found.items()} == {
        "equal": (0, 0),
        "better": (0, 0),
        "worse": (0, 1),
        "edited": (1, 2),
        "bribed": (1, 1),  # core is a dep of the stages
        "named": (1, 0),
    }
    assert {one.codes["verify"] for one in found.values()} == {0}  # there is no remote
    assert {one.codes["pages"] for one in found.values()} == {0}
    pages = {branch: (one.root / "gate-pages/demo.html").exists() for branch, one in found.items()}
    assert pages == dict.fromkeys(found, True) | {"edited": False, "named": False}  # kept theirs
    answers = {branch: one.answer for branch, one in found.items()}
    assert answers == dict.fromkeys(found, 1) | {"equal": 0, "better": 0}
    assert "# FAIL: worse than it may be" in found["worse"].comment
    assert "<code>train&#46;epochs</code>" in found["worse"].comment
    assert found["edited"].comment.startswith("## NOT JUDGED")
    assert (
        "demo/reports/metrics.json was modified after evaluate left it" in found["edited"].printed
    )
    for branch in ("bribed", "named"):
        assert "## This pull request changes what judges pull requests" in found[branch].comment
        for file in judges:
            assert code(file) in found[branch].comment, file
