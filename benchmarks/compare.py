"""What a page of `malaria compare` takes, without heat maps.

Two models of many test cells are in the commits of a repository in a temporary folder, with the
cells' images there. The whole command is timed, with the start of Python.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.gate_speed import predictions
from benchmarks.report import publish, spread, table, verdict
from malaria.core.table import COLUMNS, write_cells, write_order
from malaria.core.yaml_files import read_yaml
from malaria.evaluation.metrics import compute_metrics, write_metrics
from malaria.paths import CELLS, HISTORY, IMAGES, METRICS, ORDER, PARAMS, PIPELINE, PREDICTIONS
from malaria.prediction.table import write_predictions

REPO = Path(__file__).resolve().parents[1]
FOLDER = "pilot"
SIZE = 64  # pixels, as the pilot's
EPOCHS = 25
LIMIT_S = 10
# The command, in a repository that has results but no code.
SCRIPT = (
    "import sys; from pathlib import Path; from malaria.cli import root; "
    "root.ROOT = Path.cwd(); from malaria.cli.main import main; main()"
)
COMMAND = ["compare", "a", "b", "--folder", FOLDER, "--no-maps"]


def main(
    cells: Annotated[int, typer.Option(help="test cells")] = 10_000,
    patients: Annotated[int, typer.Option(help="test patients")] = 50,
    rounds: Annotated[int, typer.Option(help="measurements")] = 3,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure the seconds of a page about two models."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        leave_results(root, cells, patients)
        seconds, processor = zip(*(timed(root) for _ in range(rounds)), strict=True)
        size = (root / FOLDER / "compare/a..b.html").stat().st_size
    replicates = read_yaml(REPO / PARAMS)["evaluate"]["replicates"]
    body = [
        f"{cells:,} synthetic cells of {patients} patients, {replicates:,} resamples, {rounds} "
        f"rounds; load of the machine {os.getloadavg()[0]:.1f}.",
        table(
            ("seconds", "seconds of the processor", "page, MB"),
            [(spread(seconds, 1), spread(processor, 1), f"{size / 1e6:.2f}")],
        ),
        f"Seconds: {verdict(float(np.median(seconds)), LIMIT_S, at_least=False)}.",
    ]
    publish("compare", "\n\n".join(body), ("numpy", "pandas", "scikit-learn"), write)


def leave_results(root: Path, cells: int, patients: int) -> None:
    """Commit two models' results under the tags a and b, and leave the images."""
    folder = root / FOLDER
    for path in ("reports", "data"):
        (folder / path).mkdir(parents=True)
    (root / ".gitignore").write_text(f"/{FOLDER}/data/\n/{FOLDER}/compare/\n")
    (folder / PIPELINE).write_text("stages: {}\n")
    (folder / PARAMS).write_bytes((REPO / PARAMS).read_bytes())
    epochs = "".join(f"{epoch},{1 / epoch},{2 / epoch}\n" for epoch in range(1, EPOCHS + 1))
    (folder / HISTORY).write_text(f"epoch,loss,val_loss\n{epochs}")
    git(root, "init", "-q", "-b", "main")
    for seed, tag in ((1, "a"), (2, "b")):
        frame = predictions(cells, patients, seed)
        metrics = compute_metrics(frame, 0.5)
        write_predictions(frame, folder / PREDICTIONS)
        write_metrics({"val": metrics, "test": metrics}, {}, folder / METRICS)
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", tag)
        git(root, "tag", tag)
    leave_images(folder, frame)


def leave_images(folder: Path, frame: pd.DataFrame) -> None:
    """Leave random pixels of the cells."""
    cells = frame.assign(slide="s", photo="p", width=SIZE, height=SIZE)
    write_cells(cells[COLUMNS], folder / CELLS)
    write_order(folder / ORDER, list(cells["cell_id"]), SIZE, "random pixels")
    shape = (len(cells), SIZE, SIZE, 3)
    np.save(folder / IMAGES, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def git(root: Path, *arguments: str) -> None:
    """Run Git there."""
    who = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def timed(root: Path) -> tuple[float, float]:
    """Return how many seconds the command takes from start to end, and those of the processor."""
    env = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    start, before = time.perf_counter(), processor_s()
    subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, *COMMAND],
        cwd=root,
        env=env | {"PYTHONPATH": str(REPO)},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start, processor_s() - before


def processor_s() -> float:
    """Return the processor's seconds of all processes that have ended here."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    typer.run(main)
