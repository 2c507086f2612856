"""Cells whose labels look wrong to models that were not trained on their patients."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_self_confidence_for_each_label
from PIL import Image

from malaria.core.files import write_file
from malaria.core.table import LABELS
from malaria.data.corrections import VERDICTS, read_list
from malaria.drawing import drawn
from malaria.errors import MalariaError
from malaria.evaluation.metrics import compute_metrics
from malaria.paths import AUDIT, PARAMS
from malaria.pipeline.stages import place
from malaria.prediction.table import DIGITS, write_table
from malaria.report.page import png_address, render

MEASURED = ["probability", "quality"]
COLUMNS = ["rank", "cell_id", "patient", "label", *MEASURED, "verdict"]
DRAWN = (4, 8)  # rows and columns of the picture
LEAST_AREA = 0.9  # under the ROC curve, of a model that can judge labels


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


def write_list(found: pd.DataFrame, path: Path) -> int:
    """Write the list for a person to edit; return how many cells of an older list it keeps.

    Whatever a person wrote into the older list, verdicts and columns of their own, is carried
    over; a cell that has some but is no longer doubtful keeps its line, after the others.
    Raises MalariaError for an older list that cannot be read.
    """
    path = path.resolve()  # of a link, the list that it names
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        write_table(found, path)
        return 0
    older = read_list(path)
    if older["cell_id"].duplicated().any():
        twice = older["cell_id"][older["cell_id"].duplicated()].iloc[0]
        raise MalariaError(f"{path} names the cell {twice!r} twice; delete one of the lines.")
    own = [column for column in older if column not in COLUMNS]
    written = older.set_index("cell_id")[["verdict", *own]]
    listed = found.drop(columns="verdict").join(written, on="cell_id")
    listed = listed.fillna(dict.fromkeys(written, ""))
    has_some = older[["verdict", *own]].ne("").any(axis=1)
    kept = older[has_some & ~older["cell_id"].isin(found["cell_id"])]
    kept = kept.assign(rank=range(len(found) + 1, len(found) + 1 + len(kept)))
    digits = {name: listed[name].map(f"{{:.{DIGITS}f}}".format) for name in MEASURED}
    write_table(pd.concat([listed.assign(**digits), kept])[[*COLUMNS, *own]], path)
    return len(kept)


def warning_of(series: Mapping[str, pd.DataFrame]) -> str:
    """Return a sentence on the models of a series that are no judges of labels, '' if all are."""
    areas = {name: compute_metrics(cells, 0.5)["roc_auc"] for name, cells in series.items()}
    weak = {name: area for name, area in areas.items() if not area >= LEAST_AREA}
    if not weak:
        return ""
    shown = ", ".join(f"{name} {area:.3f}" for name, area in weak.items())
    return (
        f"The area under the ROC curve is below {LEAST_AREA:g} for {shown}: such a model is no "
        "judge of labels, and most of what it doubts are its own mistakes."
    )


@dataclass(frozen=True)
class Page:
    """What a page for review shows besides its cells."""

    title: str
    warning: str  # '' if there is nothing to warn of
    folder: str  # of the pipeline, relative to the repository


def write_page(
    found: pd.DataFrame, images: np.ndarray, rows: pd.Series, path: Path, content: Page
) -> None:
    """Write one page with a picture of each cell of the list, in which a person decides.

    It saves the list that lies beside it at `path`, with what was chosen. `images` is uint8
    (N, S, S, 3); `rows` has the row of each cell by its cell_id.
    """
    pictures = [png_address(_png(images[rows[cell]])) for cell in found["cell_id"]]
    listed = read_list(path.with_suffix(".csv"))
    name = f"{path.stem}.csv"
    page = render(
        "audit.html.j2",
        title=content.title,
        warning=content.warning,
        place=place(content.folder, f"{AUDIT}/{name}"),
        params=place(content.folder, PARAMS),
        cells=found.assign(picture=pictures).to_dict("records"),
        labels=LABELS,
        verdicts=VERDICTS,
        listed={
            "name": name,
            "path": f"{AUDIT}/{name}",
            "columns": list(listed),
            "rows": listed.to_numpy(dtype=str).tolist(),
        },
    )
    write_file(path, page)


def draw_list(
    found: pd.DataFrame, images: np.ndarray, rows: pd.Series, path: Path, title: str
) -> None:
    """Draw the first cells of the list; `images` and `rows` are those of `write_page`."""
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
