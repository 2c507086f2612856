"""preprocess: every cell decoded once and squashed into one array."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from malaria.core.params import load
from malaria.core.table import write_order
from malaria.data.archive import describe, list_cells, open_archive
from malaria.data.images import write_images
from malaria.data.params import PreprocessParams
from malaria.paths import IMAGES, ORDER, ZIP

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun


def main(run: "StageRun") -> None:
    params = load(PreprocessParams)
    start = time.perf_counter()
    with open_archive(Path(ZIP)) as archive:
        cells = list_cells(archive)
        write_images(archive, cells, params.size, Path(IMAGES))
    write_order(Path(ORDER), [cell.cell_id for cell in cells], params.size, describe(archive))
    run.metrics({"images_per_second": len(cells) / (time.perf_counter() - start)})
