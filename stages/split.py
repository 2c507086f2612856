"""split: the table of cells, each with its patient, size and split."""

from pathlib import Path
from typing import TYPE_CHECKING

from malaria.core.params import load
from malaria.core.table import write_cells
from malaria.data.archive import open_archive, table_of_cells
from malaria.data.corrections import correct, find_corrections, read_corrections
from malaria.data.params import SplitParams
from malaria.data.split import assign_splits
from malaria.paths import CELLS, ZIP

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun


def main(run: "StageRun") -> None:
    params = load(SplitParams)
    with open_archive(Path(ZIP)) as archive:
        cells = table_of_cells(archive)
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
    write_cells(cells, Path(CELLS))
