"""Images a second of preprocessing, against bare decoding and against the article's way."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from threading import Lock
from typing import Annotated
from zipfile import ZipFile

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library

from benchmarks.article_data import THREADS, load_images
from benchmarks.report import publish, spread, table, verdict
from malaria.core.files import find_in_mirror
from malaria.core.params import load
from malaria.data.archive import Cell, describe, list_cells, open_archive, read_entry
from malaria.data.images import write_images
from malaria.data.params import FetchParams, SyntheticParams
from malaria.data.pictures import decode
from malaria.data.synthetic import draw

ROOT = Path(__file__).resolve().parents[1]
PILOT = ROOT / "pilot"
CORES = os.cpu_count() or 1
CLAIM = 0.8


def main(
    zip_path: Annotated[Path | None, typer.Option("--zip", help="default: the pilot's")] = None,
    size: Annotated[int, typer.Option(help="pixels a side")] = 125,
    cells: Annotated[int, typer.Option(help="0 for all, else so many, evenly chosen")] = 0,
    rounds: Annotated[int, typer.Option(help="how often each side runs, in turn")] = 5,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure write_images against a bare decode loop and against the article's way."""
    with tempfile.TemporaryDirectory(prefix="malaria-") as folder:
        workspace = Path(folder)
        with open_archive(zip_path or find_zip() or draw_zip(workspace)) as archive:
            chosen = list_cells(archive)
            if cells:
                chosen = chosen[:: max(1, len(chosen) // cells)][:cells]
            publish(
                "preprocess",
                compare(archive, chosen, size, rounds, workspace),
                ["numpy", "opencv-python-headless", "pillow"],
                write,
            )


def compare(
    archive: ZipFile, cells: Sequence[Cell], size: int, rounds: int, workspace: Path
) -> str:
    """Return the table of all sides, each run `rounds` times in turn."""
    files = unzip(archive, cells, workspace)
    ours = "write_images: read, check, decode, resize, write the array"
    bare = "bare loop: read, check, decode, nothing else"
    article = "article: imread of loose files, resize, np.array of the list"
    sides: dict[tuple[str, int], Callable[[], object]] = {
        (ours, CORES): lambda: write_images(archive, cells, size, workspace / "images.npy"),
        (bare, CORES): lambda: decode_all(archive, cells, CORES),
        (article, CORES): lambda: load_images(files, size, CORES),
        (article, THREADS): lambda: load_images(files, size, THREADS),
    }
    rates: dict[tuple[str, int], list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, run in sides.items():
            start = time.perf_counter()
            run()
            rate = len(cells) / (time.perf_counter() - start)
            if number > 0:  # the first round fills the page cache
                rates[side].append(rate)
    first = median(rates[ours, CORES])
    rows = [
        [name, threads, spread(values), f"{first / median(values):.2f}"]
        for (name, threads), values in rates.items()
    ]
    header = ["side", "threads", "images/s: median (min to max)", "write_images is x times this"]
    return "\n\n".join(
        [
            f"{len(cells):,} cells ({describe(archive)}), {size} x {size} px, {rounds} rounds.",
            table(header, rows),
            f"Of the bare loop's rate: {verdict(first / median(rates[bare, CORES]), CLAIM, True)}.",
        ]
    )


def decode_all(archive: ZipFile, cells: Sequence[Cell], threads: int) -> None:
    """Decode every cell and keep nothing; each thread loops over its own share."""
    reading = Lock()  # zipfile needs it

    def share(first: int) -> None:
        for cell in cells[first::threads]:
            with reading:
                content = read_entry(archive, cell)
            decode(content, cell.entry)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))


def unzip(archive: ZipFile, cells: Sequence[Cell], workspace: Path) -> list[Path]:
    """Return the cells as loose files."""
    return [Path(archive.extract(cell.entry, workspace)) for cell in cells]


def find_zip() -> Path | None:
    """Return the pilot's zip: where the pilot keeps it, or in $MALARIA_MIRROR."""
    fetched = PILOT / "data/raw/cell_images.zip"
    if fetched.exists():
        return fetched
    sha256 = load(FetchParams, PILOT / "params.yaml").sha256
    return find_in_mirror(sha256) if sha256 else None


def draw_zip(workspace: Path) -> Path:
    """Return a zip of synthetic cells, for machines without the real ones."""
    path = workspace / "synthetic.zip"
    draw(SyntheticParams(infected_patients=45, healthy_patients=15, cells=2400, seed=7), path)
    return path


if __name__ == "__main__":
    typer.run(main)
