"""Seconds that `dvc repro` takes when there is nothing to do, against the start of DVC alone."""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.checkout import DVC, REPRO, SMALL, Checkout, temporary_checkout
from benchmarks.report import publish, spread, table, verdict
from malaria.core.yaml_files import read_yaml

CLAIM_S = 4
START = [*DVC, "--version"]
UP_TO_DATE = "Data and pipelines are up to date."


def main(
    rounds: Annotated[int, typer.Option(help="how often each side runs, in turn")] = 7,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure a `dvc repro` without work, in a temporary copy of the repository."""
    with temporary_checkout(SMALL) as checkout:
        print("running the small demo once ...", file=sys.stderr)
        checkout.run(REPRO)
        if UP_TO_DATE not in checkout.run(REPRO):
            sys.exit("noop: the second `dvc repro` still found work to do")
        publish("noop", compare(checkout, rounds), ["dvc"], write)


def compare(checkout: Checkout, rounds: int) -> str:
    """Return the table of both commands, each run `rounds` times in turn."""
    seconds: dict[str, list[float]] = {"repro": [], "start": []}
    for _ in range(rounds):
        for side, command in (("repro", REPRO), ("start", START)):
            start = time.perf_counter()
            checkout.run(command)
            seconds[side].append(time.perf_counter() - start)
    repro, alone = median(seconds["repro"]), median(seconds["start"])
    stages, files = count(checkout.root / "demo/dvc.lock")
    header = ["side", "seconds: median (min to max)", "x times the start alone"]
    rows = [
        ["`dvc --cd demo repro`, nothing to do", spread(seconds["repro"], 2)],
        ["`dvc --version`, the start of DVC alone", spread(seconds["start"], 2)],
    ]
    for row, value in zip(rows, (repro, alone), strict=True):
        row.append(f"{value / alone:.2f}")
    return "\n\n".join(
        [
            f"{stages} stages, {files} files and folders checked, {rounds} rounds.",
            table(header, rows),
            f"Seconds with nothing to do: {verdict(repro, CLAIM_S, at_least=False)}.",
        ]
    )


def count(lock: Path) -> tuple[int, int]:
    """Return how many stages a dvc.lock has, and how many files and folders they read and write."""
    stages: dict[str, Any] = read_yaml(lock)["stages"]
    paths = {
        entry["path"]
        for stage in stages.values()
        for entry in [*stage.get("deps", []), *stage.get("outs", [])]
    }
    return len(stages), len(paths)


if __name__ == "__main__":
    typer.run(main)
