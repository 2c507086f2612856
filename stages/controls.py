"""controls: the shortcut baseline, which predicts val and test cells from crop size and colour."""

from pathlib import Path
from typing import TYPE_CHECKING

from malaria.core.table import EVALUATED, open_images, read_cells
from malaria.exploration.controls import crop_statistics, logits_by_statistics
from malaria.paths import CELLS, CONTROLS, IMAGES, ORDER
from malaria.prediction.table import with_probabilities, write_predictions

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun


def main(run: "StageRun") -> None:
    table = read_cells(Path(CELLS))
    images = open_images(Path(IMAGES), Path(ORDER), table)
    cells = table.assign(logit=logits_by_statistics(crop_statistics(images, table), table))
    evaluated = cells[cells["split"].isin(EVALUATED)]
    write_predictions(with_probabilities(evaluated), Path(CONTROLS))
