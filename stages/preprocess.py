"""preprocess: every cell decoded once and squashed into one array."""

import startup  # noqa: F401

import time
from pathlib import Path

from malaria.archive import describe, list_cells, open_archive
from malaria.cells import write_order
from malaria.images import write_images
from malaria.params.base import load
from malaria.params.preprocess import PreprocessParams
from malaria.stage import run_stage
from malaria.tracking import StageRun

ZIP = Path("data/raw/cell_images.zip")
IMAGES = Path("data/images.npy")
ORDER = Path("data/images.json")


def main(run: StageRun) -> None:
    params = load(PreprocessParams)
    start = time.perf_counter()
    with open_archive(ZIP) as archive:
        cells = list_cells(archive)
        write_images(archive, cells, params.size, IMAGES)
    write_order(ORDER, [cell.cell_id for cell in cells], params.size, describe(archive))
    seconds = time.perf_counter() - start
    run.metrics({"images_per_second": len(cells) / seconds})


if __name__ == "__main__":
    run_stage("preprocess", main)
