"""Seconds that `dvc repro` takes when there is nothing to do, against the start of DVC alone."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.report import publish, spread, table, verdict
from malaria.params.base import read_yaml

ROOT = Path(__file__).resolve().parents[1]
CLAIM_S = 4
DVC = [sys.executable, "-m", "dvc"]
REPRO = [*DVC, "repro", "demo/dvc.yaml"]
START = [*DVC, "--version"]
UP_TO_DATE = "Data and pipelines are up to date."
GIT = ["git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]


def main(
    rounds: Annotated[int, typer.Option(help="how often each side runs, in turn")] = 7,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure a `dvc repro` without work, in a temporary copy of the repository."""
    with tempfile.TemporaryDirectory(prefix="malaria-") as folder:
        checkout = Path(folder) / "malaria"
        env = environment(Path(folder))
        copy_repository(checkout)
        shrink(checkout / "demo/params.yaml")
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--no-verify", "-m", "."]):
            run([*GIT, *command], checkout, env)
        print("running the small demo once ...", file=sys.stderr)
        run(REPRO, checkout, env)
        if UP_TO_DATE not in run(REPRO, checkout, env):
            sys.exit("noop: the second `dvc repro` still found work to do")
        publish("noop", compare(checkout, env, rounds), ["dvc"], write)


def compare(checkout: Path, env: dict[str, str], rounds: int) -> str:
    """Return the table of both commands, each run `rounds` times in turn."""
    seconds: dict[str, list[float]] = {"repro": [], "start": []}
    for _ in range(rounds):
        for side, command in (("repro", REPRO), ("start", START)):
            start = time.perf_counter()
            run(command, checkout, env)
            seconds[side].append(time.perf_counter() - start)
    repro, alone = median(seconds["repro"]), median(seconds["start"])
    stages, files = count(checkout / "demo/dvc.lock")
    header = ["side", "seconds: median (min to max)", "x times the start alone"]
    rows = [
        ["`dvc repro demo/dvc.yaml`, nothing to do", spread(seconds["repro"], 2)],
        ["`dvc --version`, the start of DVC alone", spread(seconds["start"], 2)],
    ]
    for row, value in zip(rows, (repro, alone), strict=True):
        row.append(f"{value / alone:.2f}")
    return "\n\n".join(
        [
            f"{stages} stages, {files} files checked, {rounds} rounds.",
            table(header, rows),
            f"Seconds with nothing to do: {verdict(repro, CLAIM_S, at_least=False)}.",
        ]
    )


def count(lock: Path) -> tuple[int, int]:
    """Return how many stages a dvc.lock has, and how many files they read and write."""
    stages: dict[str, Any] = read_yaml(lock)["stages"]
    paths = {
        entry["path"]
        for stage in stages.values()
        for entry in [*stage.get("deps", []), *stage.get("outs", [])]
    }
    return len(stages), len(paths)


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


def copy_repository(checkout: Path) -> None:
    """Copy what Git would take, as it is in the workspace, without the demo's results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, copy = ROOT / name, checkout / name
        if source.is_file() and not name.startswith(("demo/reports", "demo/dvc.lock")):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())


def shrink(path: Path) -> None:
    """Make the demo small: what a run without work costs depends on files, not on cells."""
    yaml = YAML()
    params = yaml.load(path)
    params["fetch"]["synthetic"].update(infected_patients=6, healthy_patients=6, cells=240)
    params["preprocess"]["size"] = 32
    params["train"]["epochs"] = 1
    yaml.dump(params, path)


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    """Return what a command prints; its failure ends the benchmark."""
    result = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        sys.exit(f"noop: {' '.join(command)} failed\n{result.stdout}{result.stderr}")
    return result.stdout


if __name__ == "__main__":
    typer.run(main)
