"""Cells whose labels look wrong to models that were not trained on their patients."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_self_confidence_for_each_label
from PIL import Image

from malaria.core.table import LABELS
from malaria.drawing import drawn
from malaria.errors import MalariaError
from malaria.prediction.table import write_table
from malaria.report.page import png_address, render

COLUMNS = ["rank", "cell_id", "patient", "label", "probability", "quality", "verdict"]
DRAWN = (4, 8)  # rows and columns of the picture


def pooled(series: Mapping[str, pd.DataFrame], cells: pd.DataFrame) -> pd.DataFrame:
    """Return the test predictions of all folds of a series as one table, one row per cell.

    `series` is what `repeats.read_series` returns, `cells` has the column cell_id. Raises
    MalariaError if the folds skip a cell or test one twice.
    """
    predictions = pd.concat(series.values(), ignore_index=True)
    twice = predictions["cell_id"].duplicated().sum()
    missing = (~cells["cell_id"].isin(predictions["cell_id"])).sum()
    if twice or missing:
        raise MalariaError(
            f"the runs {', '.join(series)} are not the folds of these cells: {missing} cells "
            f"are tested in none and {twice} in several; finish the series with "
            "`uv run malaria repeat --folds`."
        )
    return predictions


def doubtful(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the cells whose labels are probably wrong, the worst first, by confident learning.

    Northcutt et al. 2021, Confident Learning: Estimating Uncertainty in Dataset Labels.
    `predictions` has the columns cell_id, patient, label and probability, each by a model that
    saw no cell of the patient. The result has COLUMNS: probability is that of 'parasitized',
    quality the probability of the given label, verdict is blank.
    """
    label = predictions["label"].to_numpy()
    probability = predictions["probability"].to_numpy()
    both = np.column_stack([1 - probability, probability])
    wrong = find_label_issues(label, both, filter_by="confident_learning", n_jobs=1)
    quality = get_self_confidence_for_each_label(label, both)
    found = predictions[wrong].assign(quality=quality[wrong], verdict="")
    found = found.sort_values(["quality", "cell_id"], ignore_index=True)
    return found.assign(rank=found.index + 1)[COLUMNS]


def write_list(found: pd.DataFrame, path: Path) -> None:
    """Write the list for a person to edit; verdicts in an older list are kept.

    Raises MalariaError if the older list has verdicts on cells that the new one lacks.
    """
    if path.exists():
        older = pd.read_csv(path, dtype="string", keep_default_na=False)
        verdicts = older[older["verdict"] != ""].set_index("cell_id")["verdict"]
        lost = verdicts.index.difference(pd.Index(found["cell_id"]))
        if len(lost):
            raise MalariaError(
                f"{path} has verdicts on {len(lost)} cells that are no longer doubtful "
                f"({lost[0]}, ...); move it away to make a new list."
            )
        found = found.assign(verdict=found["cell_id"].map(verdicts).fillna(""))
    path.parent.mkdir(exist_ok=True)
    write_table(found, path)


def write_page(
    found: pd.DataFrame, images: np.ndarray, rows: pd.Series, path: Path, title: str
) -> None:
    """Write one page with a picture of each cell of the list.

    `images` is uint8 (N, S, S, 3); `rows` has the row of each cell by its cell_id.
    """
    pictures = [png_address(_png(images[rows[cell]])) for cell in found["cell_id"]]
    cells = found.assign(picture=pictures).to_dict("records")
    page = render("audit.html.j2", title=title, cells=cells, labels=LABELS)
    path.write_text(page, encoding="utf-8")


def draw_list(
    found: pd.DataFrame, images: np.ndarray, rows: pd.Series, path: Path, title: str
) -> None:
    """Draw the first cells of the list; the arguments are those of `write_page`."""
    with drawn(path, title, (11, 6.4)) as figure:
        axes = figure.subplots(*DRAWN)
        for ax in axes.flat:
            ax.axis("off")
        for ax, cell in zip(axes.flat, found.to_dict("records"), strict=False):
            ax.imshow(images[rows[cell["cell_id"]]])
            ax.set_title(f"{LABELS[cell['label']]}\n{cell['probability']:.3f}", fontsize=8)


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(file, "PNG")
    return file.getvalue()
