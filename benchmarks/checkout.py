"""A temporary copy of this repository in which a benchmark runs DVC and Git."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
DVC = [sys.executable, "-m", "dvc"]
REPRO = [*DVC, "--cd", "demo", "repro"]
MALARIA = [sys.executable, "-m", "malaria"]
GIT = ["git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
# What a run without work costs depends on files, not on cells.
SMALL: dict[str, dict[str, Any]] = {
    "fetch": {"synthetic": {"infected_patients": 6, "healthy_patients": 6, "cells": 240}},
    "preprocess": {"size": 32},
    "train": {"epochs": 1},
}


@dataclass(frozen=True)
class Checkout:
    """A copy with a Git repository of its own, and the environment for commands in it."""

    root: Path
    env: Mapping[str, str]

    def run(self, command: list[str]) -> str:
        """Return what a command prints; its failure ends the benchmark."""
        result = subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)} failed\n{result.stdout}{result.stderr}")
        return result.stdout

    def commit(self, message: str) -> None:
        """Commit everything that Git does not ignore."""
        self.run([*GIT, "add", "-A"])
        self.run([*GIT, "commit", "-q", "--no-verify", "-m", message])


@contextmanager
def temporary_checkout(changes: Mapping[str, Mapping[str, Any]]) -> Iterator[Checkout]:
    """Give a copy of the repository without the demo's results, its params changed by section."""
    with tempfile.TemporaryDirectory(prefix="malaria-") as folder:
        checkout = Checkout(Path(folder) / "malaria", environment(Path(folder)))
        copy_repository(checkout.root)
        change_params(checkout.root / "demo/params.yaml", changes)
        checkout.run(["git", "init", "-q"])
        checkout.commit("base")
        yield checkout


def environment(folder: Path) -> dict[str, str]:
    """Return the environment without the caller's DVC and MLflow, all caches in `folder`."""
    kept = {key: value for key, value in os.environ.items() if key[:4] not in {"DVC_", "MLFL"}}
    binaries = Path(sys.executable).parent
    return kept | {
        "PATH": f"{binaries}{os.pathsep}{kept['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / "dvc"),
        "TMPDIR": str(folder),  # MLflow leaves lock files there
    }


def copy_repository(root: Path) -> None:
    """Copy what Git would take, as it is in the workspace, without the demo's results."""
    root.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, copy = ROOT / name, root / name
        if source.exists() and not name.startswith(("demo/reports", "demo/dvc.lock")):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy, follow_symlinks=False)


def change_params(path: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write values into a params.yaml, by section and key; mappings are merged."""
    yaml = YAML()
    params = yaml.load(path)
    for section, values in changes.items():
        for key, value in values.items():
            if isinstance(value, dict):
                params[section][key].update(value)
            else:
                params[section][key] = value
    yaml.dump(params, path)
