"""explore: tables and pictures of the cells themselves, before any model."""

import startup  # noqa: F401

import malaria.quiet_keras  # noqa: F401

from pathlib import Path

import numpy as np

from malaria import explore
from malaria.augment_figure import draw_augmentation
from malaria.cells import describe_data, open_images, read_cells
from malaria.params.augment import AugmentParams
from malaria.params.base import load
from malaria.params.train import TrainParams
from malaria.recipes import resolve
from malaria.stage import run_stage
from malaria.tracking import StageRun

CELLS = Path("data/cells.csv")
IMAGES = Path("data/images.npy")
ORDER = Path("data/images.json")
REPORT = Path("reports/explore")
AUGMENTED = 2  # cells of each class


def main(run: StageRun) -> None:
    table = read_cells(CELLS)
    images = open_images(IMAGES, ORDER, table)
    title = describe_data(ORDER, table)
    REPORT.mkdir(parents=True, exist_ok=True)
    for name, summary in {
        "balance": explore.balance_table(table),
        "sizes": explore.size_table(table),
    }.items():
        summary.to_csv(REPORT / f"{name}.csv", index=False, lineterminator="\n")
    explore.draw_balance(table, REPORT / "balance.png", title)
    explore.draw_sizes(table, REPORT / "sizes.png", title)
    for side in (3, 6):
        explore.draw_samples(images, table, side, REPORT / f"samples_{side}x{side}.png", title)
    explore.draw_means(images, table, REPORT / "means.png", title)
    explore.draw_views(images, table, REPORT / "views.png", title)

    train = load(TrainParams)
    augment = resolve(train, load(AugmentParams)).augment
    rows = np.concatenate(
        [explore.sample_rows(table, label, AUGMENTED) for label in explore.CLASSES]
    )
    what = "no augmentation" if augment.is_off else "the same draws by both engines"
    difference = draw_augmentation(
        images[rows],
        [explore.CLASSES[label][0] for label in table.loc[rows, "label"]],
        augment,
        REPORT / "augmentation.png",
        f"{title}, train cells, {train.model}: {what}",
    )
    if not augment.is_off:
        print(f"explore: both engines draw the same, to {difference:.2g} of 255")


if __name__ == "__main__":
    run_stage("explore", main)
