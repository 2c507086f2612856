"""Checkouts of this repository in temporary folders, and one finished run of the tiny demo."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.checkout import change_params, copy_repository

REPO = Path(__file__).resolve().parents[2]
# Small enough for the fast tier; every stage and every output is there all the same.
TINY: dict[str, dict[str, Any]] = {
    "fetch": {"synthetic": {"infected_patients": 9, "healthy_patients": 6, "cells": 180}},
    "preprocess": {"size": 24},
    "train": {"epochs": 2, "batch_size": 32},
    "explain": {"cells": 2, "occluded": 2},
}


class Checkout:
    """A Git checkout with a tiny demo, in which DVC runs as a user would run it."""

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        self.root = root
        self.demo = root / "demo"
        self.env = dict(env)
        self.printed = ""  # by the first run, if there was one

    def run(
        self, *command: str, cwd: Path | None = None, check: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command at the root (or in `cwd`); its failure fails the test."""
        result = subprocess.run(
            command,
            cwd=cwd or self.root,
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and result.returncode != 0:
            pytest.fail(
                f"{command} exited with {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def start(self, *arguments: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
        """Start Python at the root (or in `cwd`); `ended` waits for it."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd or self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def dvc(
        self, *arguments: str, cwd: Path | None = None, check: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run DVC in the demo's folder, or in `cwd`."""
        dvc = [sys.executable, "-m", "dvc"]
        return self.run(*dvc, *arguments, cwd=cwd or self.demo, check=check, **env)

    def copy(self, folder: Path) -> "Checkout":
        """Return a copy with all data, cache and results, to be changed by one test."""
        shutil.copytree(self.root, folder / "malaria", symlinks=True)
        return Checkout(folder / "malaria", self.env)

    def commit(self, message: str) -> None:
        """Commit everything that Git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--no-verify", "-m", message)


def ended(process: "subprocess.Popen[str]", limit_s: float) -> str:
    """Return what a started process printed; its failure fails the test."""
    printed, _ = process.communicate(timeout=limit_s)
    assert process.returncode == 0, printed
    return printed


def answer_of(printed: str) -> str:
    """Return what a command printed, less the lines that said what it was doing."""
    lines = printed.splitlines(keepends=True)
    return "".join(line for line in lines if not line.endswith(" ...\n"))


NewCheckout = Callable[[str], Checkout]


@pytest.fixture(scope="session")
def new_checkout(tmp_path_factory: pytest.TempPathFactory) -> NewCheckout:
    """Return a function that makes a fresh checkout of the files that Git would take."""
    binaries = str(Path(sys.executable).parent)
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }

    def make(name: str) -> Checkout:
        checkout = Checkout(tmp_path_factory.mktemp(name) / "malaria", env)
        copy_repository(checkout.root)
        change_params(checkout.demo / "params.yaml", TINY)
        checkout.run("git", "init", "-q")
        checkout.commit("base")
        return checkout

    return make


@pytest.fixture(scope="session")
def finished(new_checkout: NewCheckout) -> Checkout:
    """Return a checkout whose tiny demo has run once; tests only look at it."""
    checkout = new_checkout("finished")
    checkout.printed = checkout.dvc("repro").stdout
    return checkout
