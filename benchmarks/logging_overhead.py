"""What live logging adds to a training: the same training with and without MLflow."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from statistics import median
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from benchmarks.checkout import REPRO, temporary_checkout
from benchmarks.report import publish, spread, table, verdict
from benchmarks.sides import in_turn

CLAIM = 0.02
ON, OFF = "logged", "not logged"
PARTS = ("import of MLflow", "opening the run and closing it", "epochs")


class Watch:
    """Seconds by part of the logging."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start


class Watched:
    """A stage's run whose calls during the training are timed."""

    def __init__(self, run: Any, watch: Watch) -> None:
        self._run, self._watch = run, watch
        self.facts, self.run_id = run.facts, run.run_id

    def resolved(self, values: Mapping[str, Any]) -> None:
        with self._watch(PARTS[1]):
            self._run.resolved(values)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        with self._watch(PARTS[2] if step else PARTS[1]):
            self._run.metrics(values, step)


class Silent:
    """A stage's run that is none."""

    run_id = ""

    def __init__(self, checkpoints: Path) -> None:
        self.facts = SimpleNamespace(key="0" * 64, checkpoints=checkpoints)

    def resolved(self, values: Mapping[str, Any]) -> None:
        pass

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        pass


def main(
    model: Annotated[str, typer.Option(help="train.model")] = "basic_cnn",
    cells: Annotated[int, typer.Option(help="synthetic cells in all")] = 9996,
    size: Annotated[int, typer.Option(help="pixels")] = 64,
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    rounds: Annotated[int, typer.Option(min=1, help="how often each side runs, in turn")] = 3,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
    side: Annotated[str, typer.Option(hidden=True)] = "",
    folder: Annotated[Path, typer.Option(hidden=True)] = Path(),
) -> None:
    """Train in turn with live logging into an sqlite store and without any, in new processes."""
    if side:
        print(json.dumps(train_here(side, folder)))
        return
    changes: dict[str, dict[str, Any]] = {
        "fetch": {"synthetic": {"cells": cells}},
        "preprocess": {"size": size},
        "train": {"model": model, "epochs": epochs, "patience": 0},
    }
    with temporary_checkout(changes) as checkout:
        # Makes the store too, which costs seconds once in a repository's life.
        checkout.run([*REPRO, "split", "preprocess"])
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        options = {"folder": checkout.root / "demo"}
        results = in_turn("logging_overhead", [ON, OFF], rounds, options)
    if len({side["history"] for sides in results.values() for side in sides}) != 1:
        sys.exit("logging_overhead: the sides trained otherwise, so they cannot be compared")
    shown = f"{model}, {cells:,} synthetic cells, {size} px, {epochs} epochs, rounds: {rounds}."
    publish(
        "logging_overhead", f"{shown}\n\n{compare(results, epochs)}", ["mlflow", "keras"], write
    )


def train_here(side: str, folder: Path) -> dict[str, Any]:
    """Train in this process, in a pipeline's folder; return seconds and a digest of the history."""
    start = time.perf_counter()
    os.chdir(folder)
    sys.path.insert(0, str(folder.parent))
    watch = Watch()
    stage: Any = import_module("stages.train")  # without MLflow
    if side == OFF:
        stage.main(Silent(folder.parent / ".dvc/tmp/checkpoints"))
    else:
        with watch(PARTS[0]):
            import malaria.tracking.live  # noqa: F401
        _run_stage(stage.main, watch)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time(),
        "logging": watch.seconds,
        "history": hashlib.sha256(Path("reports/history.csv").read_bytes()).hexdigest(),
    }


def _run_stage(main: Callable[[Any], None], watch: Watch) -> None:
    """Run the stage as DVC would; all that surrounds `main` serves the logging."""
    from malaria.tracking.stage import run_stage

    trained = 0.0

    def watched(run: Any) -> None:
        nonlocal trained
        start = time.perf_counter()
        main(Watched(run, watch))
        trained = time.perf_counter() - start

    start = time.perf_counter()
    run_stage("train", watched)
    watch.seconds[PARTS[1]] += time.perf_counter() - start - trained


def compare(results: Mapping[str, list[dict[str, Any]]], epochs: int) -> str:
    """Return the table of both sides, and of what the logged side spent on logging."""
    rows = [
        [name, *(spread([side[key] for side in sides], 1) for key in ("seconds", "cpu"))]
        for name, sides in results.items()
    ]
    parts = {part: [side["logging"][part] for side in results[ON]] for part in PARTS}
    spent = [[part, spread(seconds, 2)] for part, seconds in parts.items()]
    shares = [
        sum(side["logging"].values()) / (side["seconds"] - sum(side["logging"].values()))
        for side in results[ON]
    ]
    each = median(parts["epochs"]) / epochs
    return "\n\n".join(
        [
            table(["side", "seconds: median (min to max)", "CPU seconds"], rows),
            "Of the logged side:",
            table(["spent on", "seconds: median (min to max)"], spent),
            f"An epoch's metrics take {1000 * each:.0f} ms. Share of the training without logging: "
            f"{verdict(median(shares), CLAIM, at_least=False)}.",
        ]
    )


if __name__ == "__main__":
    typer.run(main)
