"""Shortcut baselines: predictions from the crops' size and colour, which show no parasite."""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

DARKEST = 10  # grey value of the darkest pixels that are the cell's; the background is black
BATCH = 512
CHANNELS = ("red", "green", "blue")
STATISTICS = (
    "width",
    "height",
    "share_of_crop",
    *(f"{kind}_{channel}" for kind in ("mean", "sd") for channel in CHANNELS),
)


def crop_statistics(images: np.ndarray, cells: pd.DataFrame) -> pd.DataFrame:
    """Return STATISTICS of each crop: its size, the cell's share of it, the cell's mean colour.

    `images` is uint8 (N, S, S, 3) RGB, row i for row i of `cells`, which has the width and height
    in pixels of the crops as they were. Colours are 0 to 255.
    """
    parts = []
    for start in range(0, len(images), BATCH):
        pixels = np.asarray(images[start : start + BATCH]).astype("float32")
        inside = (pixels.max(axis=-1, keepdims=True) >= DARKEST).astype("float32")
        count = np.maximum(inside.sum(axis=(1, 2)), 1)
        mean = (pixels * inside).sum(axis=(1, 2)) / count
        distance = (pixels - mean[:, None, None, :]) * inside
        sd = np.sqrt((distance**2).sum(axis=(1, 2)) / count)
        parts.append(np.concatenate([inside.mean(axis=(1, 2)), mean, sd], axis=1))
    sizes = cells[["width", "height"]].to_numpy("float32")
    values = np.concatenate([sizes, np.concatenate(parts)], axis=1)
    return pd.DataFrame(values, columns=list(STATISTICS))


def logits_by_statistics(statistics: pd.DataFrame, cells: pd.DataFrame) -> np.ndarray:
    """Return each cell's logit (N,) from gradient boosting fitted to the train cells, untuned.

    scikit-learn's defaults without early stopping; for so few cells nothing is random.
    """
    is_train = (cells["split"] == "train").to_numpy()
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
    model.fit(statistics[is_train], cells["label"][is_train])
    return model.decision_function(statistics)
