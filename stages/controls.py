"""controls: predictions of val and test cells by what is no sign of malaria."""

import startup  # noqa: F401

from pathlib import Path

from malaria.cells import open_images, read_cells
from malaria.controls import crop_statistics, logits_by_statistics
from malaria.metrics import with_probabilities, write_predictions
from malaria.stage import run_stage
from malaria.tracking import StageRun

CELLS = Path("data/cells.csv")
IMAGES = Path("data/images.npy")
ORDER = Path("data/images.json")
CONTROLS = Path("data/controls.csv")


def main(run: StageRun) -> None:
    table = read_cells(CELLS)
    statistics = crop_statistics(open_images(IMAGES, ORDER, table), table)
    cells = table.assign(logit=logits_by_statistics(statistics, table))
    write_predictions(with_probabilities(cells[cells["split"] != "train"]), CONTROLS)


if __name__ == "__main__":
    run_stage("controls", main)
