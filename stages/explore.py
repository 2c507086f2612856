"""explore: tables and pictures of the cells themselves, before any model."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from malaria.core.files import write_file
from malaria.core.params import load
from malaria.core.table import LABELS, describe_data, open_images, read_cells
from malaria.exploration import pictures
from malaria.exploration.augmentation import draw_augmentation
from malaria.exploration.cells import balance_table, sample_rows, size_table
from malaria.paths import CELLS, EXPLORE, IMAGES, ORDER
from malaria.training.params import AugmentParams, TrainParams
from malaria.training.recipe import resolve

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun

AUGMENTED = 2  # cells of each class


def main(run: "StageRun") -> None:
    table = read_cells(Path(CELLS))
    images = open_images(Path(IMAGES), Path(ORDER), table)
    title = describe_data(Path(ORDER), table)
    folder = Path(EXPLORE)
    folder.mkdir(parents=True, exist_ok=True)
    for name, summary in {"balance": balance_table(table), "sizes": size_table(table)}.items():
        write_file(folder / f"{name}.csv", summary.to_csv(index=False, lineterminator="\n"))
    pictures.draw_balance(table, folder / "balance.png", title)
    pictures.draw_sizes(table, folder / "sizes.png", title)
    for side in (3, 6):
        pictures.draw_samples(images, table, side, folder / f"samples_{side}x{side}.png", title)
    pictures.draw_means(images, table, folder / "means.png", title)
    pictures.draw_views(images, table, folder / "views.png", title)

    train = load(TrainParams)
    augment = resolve(train, load(AugmentParams)).augment
    rows = np.concatenate([sample_rows(table, label, AUGMENTED) for label in LABELS])
    difference = draw_augmentation(
        images[rows],
        [LABELS[label] for label in table.loc[rows, "label"]],
        augment,
        folder / "augmentation.png",
        f"{title}, train cells, {train.model}: the same draws by both engines",
    )
    if difference is not None:
        print(f"explore: both engines draw the same, to {difference:.2g} of 255")
