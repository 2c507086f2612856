"""Occlusion check: whether heat maps point at what moves the score, by hiding parts of a cell.

Zeiler, Fergus: Visualizing and understanding convolutional networks (ECCV 2014), section 4.2.
"""

import keras
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from malaria.exploration.controls import DARKEST
from malaria.models.base.saved import logit_model

SIDE = 4  # windows per side, without overlap
COVERED = 0.5  # least share of a window that is cell, not background


def place_windows(size: int) -> list[tuple[slice, slice]]:
    """Return windows of a quarter of the image's side; neighbours overlap by half."""
    side = size // SIDE
    starts = range(0, size - side + 1, side // 2)
    return [(slice(y, y + side), slice(x, x + side)) for y in starts for x in starts]


def measure(
    model: keras.Model, images: np.ndarray, cells: pd.DataFrame, maps: np.ndarray
) -> pd.DataFrame:
    """Return a row per cell: what hiding its parts costs, and whether the hottest costs most.

    `cells` has the columns row (of `images`, uint8 (N, S, S, 3)), cell_id, patient, label and
    called; `maps` is (len(cells), S, S). A fall is what the logit loses in the direction of the
    call when the cell's median colour fills a window. Windows less than half on the cell are
    skipped: black corners are cold and cost nothing, which would flatter the maps.
    """
    logits = logit_model(model)
    places = place_windows(images.shape[1])
    rows = []
    for cell, heat in zip(cells.itertuples(), maps, strict=True):
        image = np.asarray(images[cell.row])
        inside = image.max(axis=-1) >= DARKEST
        inside |= not inside.any()  # a black image is all cell
        scores = logits.predict_on_batch(hide(image, inside, places))[:, 0]
        falls = (scores[0] - scores[1:]) * (1 if cell.called == 1 else -1)
        counted = [inside[place].mean() >= COVERED for place in places]
        warmth = np.array([heat[place].mean() for place in places])
        rows.append(
            {
                "cell_id": cell.cell_id,
                "patient": cell.patient,
                "label": cell.label,
                "called": cell.called,
                "windows": sum(counted),
                **compare(warmth[counted], falls[counted]),
            }
        )
    return pd.DataFrame(rows)


def compare(heat: np.ndarray, falls: np.ndarray) -> dict[str, float]:
    """Return the fall at the hottest window, the mean fall, and Spearman's correlation.

    The correlation is of heat and fall. It and the first are NaN if no window is hotter than
    another; the correlation also if all windows cost the same.
    """
    hottest = correlation = np.nan
    if np.ptp(heat) > 0:
        hottest = falls[heat.argmax()]
        if np.ptp(falls) > 0:
            correlation = spearmanr(heat, falls).statistic
    return {
        "fall_hottest": float(hottest),
        "fall_mean": float(falls.mean()),
        "correlation": float(correlation),
    }


def hide(image: np.ndarray, inside: np.ndarray, places: list[tuple[slice, slice]]) -> np.ndarray:
    """Return the image, then one copy per place whose cell pixels have the cell's median colour.

    The background stays black, so that the outline does not change.
    """
    colour = np.median(image[inside], axis=0).round().astype("uint8")
    stack = np.repeat(image[None], 1 + len(places), axis=0)
    for hidden, place in zip(stack[1:], places, strict=True):
        hidden[place][inside[place]] = colour
    return stack
