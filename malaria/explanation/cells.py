"""Which test cells are worth a look."""

import numpy as np
import pandas as pd
from scipy.special import logit

from malaria.evaluation.measures import cross_entropies
from malaria.exploration.cells import spread
from malaria.prediction.table import DIGITS

KINDS = {
    "confident_right": "most confident right",
    "confident_wrong": "most confident wrong",
    "least_sure": "least sure",
    "top_losses": "largest losses",
}
LISTED = ["kind", "cell_id", "patient", "label", "probability", "logit", "loss"]


def called_cells(predictions: pd.DataFrame, cells: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the test predictions sorted by name, with row (in `cells`), call, distance and loss.

    `called` is 1 if the probability is at least the threshold; `distance` is between the logit
    and the threshold's logit; `loss` is the cross-entropy in nats.
    """
    tested = predictions[predictions["split"] == "test"]
    # A threshold of 0 or 1 has no finite logit, and probabilities in files have no more digits.
    border = logit(np.clip(threshold, 10**-DIGITS, 1 - 10**-DIGITS))
    return tested.assign(
        row=pd.Index(cells["cell_id"]).get_indexer(tested["cell_id"]),
        called=(tested["probability"] >= threshold).astype(int),
        distance=(tested["logit"] - border).abs(),
        loss=cross_entropies(tested["label"].to_numpy(), tested["logit"].to_numpy()),
    ).sort_values("cell_id", ignore_index=True)


def choose(cells: pd.DataFrame, kind: str, count: int) -> pd.DataFrame:
    """Return `count` cells of a kind, or as many as there are.

    `cells` are those of `called_cells`; ties are sorted by name. Half of `confident_right` are of
    each class.
    """
    right = cells["called"] == cells["label"]
    if kind == "confident_right":
        return pd.concat(
            _largest(cells[right & (cells["label"] == label)], "distance", part)
            for label, part in _halves(count)
        )
    if kind == "confident_wrong":
        return _largest(cells[~right], "distance", count)
    if kind == "least_sure":
        return cells.sort_values(["distance", "cell_id"]).head(count)
    return _largest(cells, "loss", count)


def sample_calls(cells: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return `count` cells, half of them called parasitized, of as many patients as possible."""
    chosen = [spread(cells[cells["called"] == call], part) for call, part in _halves(count)]
    return cells.loc[np.concatenate(chosen)]


def _largest(cells: pd.DataFrame, column: str, count: int) -> pd.DataFrame:
    return cells.sort_values([column, "cell_id"], ascending=[False, True]).head(count)


def _halves(count: int) -> list[tuple[int, int]]:
    """Return each class with its half of the count; the parasitized get the odd one."""
    return [(1, count - count // 2), (0, count // 2)]
