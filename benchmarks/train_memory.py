"""Memory and time of a training by the size of its data, against arrays in memory."""

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.process import MB, measured
from benchmarks.report import publish, spread, table, verdict
from malaria.core.table import write_cells, write_order

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("basic_cnn", "vgg19_frozen")
FRACTIONS = {"train": 0.6, "val": 0.15, "test": 0.25}  # the study's
DEFAULT_COUNTS = (1000, 5000, 10000, 27558)  # the official set has as many as the last
CLAIM = 0.2
LINEAR = 1.25
SIDES = ("train stage", "article")


def main(
    images: Annotated[list[int] | None, typer.Option(help="N, give it thrice or more")] = None,
    size: Annotated[int, typer.Option(help="pixels a side")] = 64,
    model: Annotated[list[str] | None, typer.Option(help="default: both")] = None,
    rounds: Annotated[int, typer.Option(help="how often each side runs, in turn")] = 3,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure how the peak of anonymous memory and the time grow with images.npy."""
    counts = sorted(set(images or DEFAULT_COUNTS))
    if len(counts) < 3:
        sys.exit("train_memory: a line needs three numbers of images; give --images thrice")
    for name in model or MODELS:
        with tempfile.TemporaryDirectory(prefix="malaria-") as folder:
            parts = compare(name, counts, size, rounds, Path(folder))
        section = f"train_memory {name}"
        publish(section, "\n\n".join(parts), ["keras", "tensorflow", "numpy"], write)


def compare(name: str, counts: list[int], size: int, rounds: int, folder: Path) -> list[str]:
    """Return the table of one model and its verdict."""
    workspaces = {n: prepare(folder / f"{name}-{n}", name, n, size) for n in counts}
    peaks: dict[tuple[str, int], list[float]] = {(side, n): [] for side in SIDES for n in counts}
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in peaks}
    for _ in range(rounds):
        for side, n in peaks:
            cost = measured(command(side, name), workspaces[n])
            seconds[side, n].append(cost.wall_s)
            peaks[side, n].append(cost.peak_mb)
            print(f"{name}, {side}, {n:,} images: {cost.peak_mb:,.0f} MB", file=sys.stderr)
    size_mb = {n: (path / "data/images.npy").stat().st_size / MB for n, path in workspaces.items()}
    least, most = counts[0], counts[-1]
    growth = {
        side: (median(peaks[side, most]) - median(peaks[side, least]))
        / (size_mb[most] - size_mb[least])
        for side in SIDES
    }
    header = ["images", "images.npy, MB", *(f"{s}, {unit}" for s in SIDES for unit in ("MB", "s"))]
    rows: list[list[str]] = []
    for n in counts:
        both = [values[side, n] for side in SIDES for values in (peaks, seconds)]
        rows.append([f"{n:,}", f"{size_mb[n]:,.1f}", *(spread(values) for values in both)])
    stage, article = (growth[side] for side in SIDES)
    slope = marginal_seconds(seconds, *counts[-2:]) / marginal_seconds(seconds, least, counts[-2])
    return [
        f"`{name}`, random {size} x {size} px images, one epoch, float32, on the CPU, {rounds} "
        "rounds. Peak RssAnon in MB and seconds of the whole process, median (min to max).",
        table(header, rows),
        f"More bytes for each byte of images.npy, train stage: "
        f"{verdict(stage, CLAIM, at_least=False)}; the article's way: {article:.2f}. "
        f"Seconds an image from {counts[-2]:,} on, by those up to there: "
        f"{verdict(slope, LINEAR, at_least=False)}.",
    ]


def marginal_seconds(seconds: dict[tuple[str, int], list[float]], few: int, many: int) -> float:
    """Return the train stage's seconds for each image more."""
    more = median(seconds[SIDES[0], many]) - median(seconds[SIDES[0], few])
    return more / (many - few)


def command(side: str, model: str) -> list[str]:
    """Return what one side runs in its workspace."""
    if side == "train stage":
        return [sys.executable, "stages", "train"]
    script = Path(__file__).with_name("article_fit.py")
    return [sys.executable, str(script), model, "data/images.npy", "data/cells.csv"]


def prepare(folder: Path, model: str, n: int, size: int) -> Path:
    """Return a folder in which the train stage runs in full, on `n` random images."""
    (folder / "data").mkdir(parents=True)
    for code in ("malaria", "stages"):
        shutil.copytree(ROOT / code, folder / code, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)

    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["preprocess"]["size"] = size
    # Both sides in float32, as the article trains.
    params["train"].update(model=model, weights="none", epochs=1, device="cpu", precision="float32")
    yaml.dump(params, folder / "params.yaml")

    ids = [f"C1P1_IMG_1_cell_{number:06}" for number in range(n)]
    ends = np.cumsum(list(FRACTIONS.values())) * n
    splits = np.array(list(FRACTIONS))[np.searchsorted(ends, np.arange(n) + 0.5)]
    cells = pd.DataFrame({"cell_id": ids, "label": np.arange(n) % 2, "split": splits})
    cells = cells.assign(patient=[f"C{number}" for number in range(n)], slide="s", photo="p")
    write_cells(cells.assign(width=size, height=size), folder / "data/cells.csv")
    write_order(folder / "data/images.json", ids, size, "random images")
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(
        folder / "data/images.npy", mode="w+", dtype=np.uint8, shape=(n, size, size, 3)
    )
    for row in range(n):
        array[row] = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    return folder


if __name__ == "__main__":
    typer.run(main)
