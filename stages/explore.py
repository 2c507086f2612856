"""explore: tables and pictures of the cells themselves, before any model."""

import startup  # noqa: F401

from pathlib import Path

from malaria import explore
from malaria.cells import describe_data, open_images, read_cells
from malaria.stage import run_stage
from malaria.tracking import StageRun

CELLS = Path("data/cells.csv")
IMAGES = Path("data/images.npy")
ORDER = Path("data/images.json")
REPORT = Path("reports/explore")


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


if __name__ == "__main__":
    run_stage("explore", main)
