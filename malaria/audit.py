"""Cells whose labels look wrong to models that were not trained on their patients."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_self_confidence_for_each_label
from matplotlib.figure import Figure
from PIL import Image

from malaria.curves import NAMES
from malaria.errors import MalariaError
from malaria.figures import save_figure
from malaria.page import png_address, render

FOLDER = "audit"  # of a pipeline's folder
COLUMNS = ["rank", "cell_id", "patient", "label", "probability", "quality", "verdict"]
DRAWN = (4, 8)  # rows and columns of the picture
DIGITS = 6


def pooled(series: Mapping[str, pd.DataFrame], cells: pd.DataFrame) -> pd.DataFrame:
    """Return the test predictions of all folds of a series as one table, a row for each cell.

    `series` is that of `repeats.read_series`, `cells` has the column cell_id. Raises MalariaError
    where the folds leave a cell out or test one twice.
    """
    predictions = pd.concat(series.values(), ignore_index=True)
    twice = predictions.loc[predictions["cell_id"].duplicated(), "cell_id"]
    missing = cells.loc[~cells["cell_id"].isin(predictions["cell_id"]), "cell_id"]
    if len(twice) or len(missing):
        raise MalariaError(
            f"the runs {', '.join(series)} are not the folds of these cells: {len(missing)} cells "
            f"are tested in none and {len(twice)} in several; finish the series with "
            "`uv run malaria repeat --folds`."
        )
    return predictions


def doubtful(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the cells whose labels confident learning takes for wrong, the worst first.

    Northcutt et al. 2021, Confident Learning: Estimating Uncertainty in Dataset Labels.
    `predictions` has the columns cell_id, patient, label and probability, each by a model that
    saw no cell of the patient. The result has COLUMNS: probability is that of 'parasitized',
    quality that of the label as it is, verdict blank.
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
    """Write the list for a person to edit; verdicts that an older list has are kept.

    Raises MalariaError where the older list has verdicts on cells that the new one leaves out.
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
    found.to_csv(path, index=False, float_format=f"%.{DIGITS}f", lineterminator="\n")


def write_page(
    found: pd.DataFrame, images: np.ndarray, rows: pd.Series, path: Path, title: str
) -> None:
    """Write one page with a picture of each cell of the list.

    `images` is uint8 (N, S, S, 3); `rows` has the row of each cell by its cell_id.
    """
    shown = [
        record | {"picture": png_address(_png(images[rows[record["cell_id"]]]))}
        for record in _described(found)
    ]
    path.write_text(render("audit.html.j2", title=title, cells=shown), encoding="utf-8")


def draw_list(
    found: pd.DataFrame, images: np.ndarray, rows: pd.Series, path: Path, title: str
) -> None:
    """Draw the first cells of the list."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(*DRAWN)
    for ax in axes.flat:
        ax.axis("off")
    for ax, record in zip(axes.flat, _described(found), strict=False):
        ax.imshow(images[rows[record["cell_id"]]])
        ax.set_title(f"{record['named']}\n{record['probability']:.3f}", fontsize=8)
    figure.suptitle(title)
    save_figure(figure, path)


def _described(found: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for record in found.to_dict("records"):
        yield record | {"named": NAMES[record["label"]]}


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(file, "PNG")
    return file.getvalue()
