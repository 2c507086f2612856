"""split: the table of cells, each with its patient, size and split."""

import startup  # noqa: F401

from pathlib import Path

import pandas as pd

from malaria.archive import list_cells, open_archive, png_size
from malaria.cells import write_cells
from malaria.corrections import correct, find_corrections, read_corrections
from malaria.params.base import load
from malaria.params.split import SplitParams
from malaria.splitting import assign_splits
from malaria.stage import run_stage
from malaria.tracking import StageRun

ZIP = Path("data/raw/cell_images.zip")
CELLS = Path("data/cells.csv")


def main(run: StageRun) -> None:
    params = load(SplitParams)
    with open_archive(ZIP) as archive:
        cells = pd.DataFrame(
            {
                "cell_id": cell.cell_id,
                "label": cell.label,
                "patient": cell.patient,
                "slide": cell.slide,
                "photo": cell.photo,
                "width": width,
                "height": height,
            }
            for cell in list_cells(archive)
            for width, height in [png_size(archive, cell)]
        )
    cells["split"] = assign_splits(cells, params)
    if params.corrections is not None:
        path = find_corrections(params.corrections.path, params.corrections.sha256)
        verdicts = read_corrections(path, cells)
        corrected = correct(cells, verdicts)
        changed = (corrected[["label", "split"]] != cells[["label", "split"]]).any(axis=1)
        print(
            f"split: {changed.sum()} labels of train cells corrected, of {len(verdicts)} reviewed"
        )
        cells = corrected
    write_cells(cells, CELLS)


if __name__ == "__main__":
    run_stage("split", main)
