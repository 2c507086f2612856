"""A saved model with its threshold: probability and class of cells, as in predictions.csv."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from malaria.core.table import LABELS
from malaria.models.base.saved import load_model
from malaria.prediction.predict import BATCH, predictor
from malaria.prediction.table import DIGITS, with_probabilities

COLUMNS = ["probability", "label", "threshold"]


@dataclass(frozen=True)
class Classifier:
    """A saved model with its threshold; `open_classifier` reads one."""

    size: int  # of the images that the model takes, pixels a side
    threshold: float
    logits: Callable[[np.ndarray, np.ndarray], np.ndarray]  # of images, and chosen rows of them

    def classify(self, images: np.ndarray) -> pd.DataFrame:
        """Return probability, label and threshold of uint8 (N, size, size, 3) RGB images.

        The label is 'parasitized' from the threshold on. Probabilities are rounded as in
        predictions.csv, from which the threshold was chosen.
        """
        count = len(images)
        # A matrix product with one row rounds differently, so no batch has only one.
        rows = np.resize(np.arange(count), count + (count % BATCH == 1))
        logit = self.logits(images, rows)[:count]
        probability = with_probabilities(pd.DataFrame({"logit": logit}))["probability"]
        rounded = probability.round(DIGITS)
        called = (rounded >= self.threshold).astype(int)
        return pd.DataFrame(
            {"probability": rounded, "label": called.map(LABELS), "threshold": self.threshold}
        )[COLUMNS]


def open_classifier(model: Path, threshold: float) -> Classifier:
    """Return the classifier in a .keras file; raises MalariaError for any other file."""
    loaded = load_model(model)
    return Classifier(loaded.input_shape[1], threshold, predictor(loaded))
