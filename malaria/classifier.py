"""A saved model at its operating point: probability and class of cells, as evaluate gives them."""

import malaria.quiet_keras  # noqa: F401

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from malaria.curves import NAMES
from malaria.errors import MalariaError
from malaria.metrics import DIGITS, with_probabilities
from malaria.prediction import BATCH, predictor

COLUMNS = ["probability", "label", "threshold"]


@dataclass(frozen=True)
class Classifier:
    """What says of a cell whether it is parasitized; make it with `open_classifier`."""

    size: int  # pixels a side that the model takes
    threshold: float
    logits: Callable[[np.ndarray, np.ndarray], np.ndarray]  # of chosen rows of images

    def classify(self, images: np.ndarray) -> pd.DataFrame:
        """Return probability, label and threshold of uint8 (N, size, size, 3) RGB images.

        The label is 'parasitized' from the threshold on. Probabilities have the digits of
        predictions.csv, by which the threshold was chosen.
        """
        count = len(images)
        # A product with one row is rounded otherwise than with several, so none goes alone.
        rows = np.resize(np.arange(count), count + (count % BATCH == 1))
        logit = self.logits(images, rows)[:count]
        probability = with_probabilities(pd.DataFrame({"logit": logit}))["probability"]
        rounded = probability.round(DIGITS)
        called = (rounded >= self.threshold).astype(int)
        return pd.DataFrame(
            {"probability": rounded, "label": called.map(NAMES), "threshold": self.threshold}
        )[COLUMNS]


def open_classifier(model: Path, threshold: float) -> Classifier:
    """Return the classifier in a .keras file; raises MalariaError for a file that is none."""
    try:
        loaded = keras.models.load_model(model)
    except Exception as error:  # Keras raises whatever its readers do
        reason = " ".join(str(error).split())[:200]
        raise MalariaError(
            f"{model} cannot be loaded as a Keras model ({reason}); bring it back with `uv run dvc "
            "pull`, or make it with `uv run dvc repro`."
        ) from None
    return Classifier(loaded.input_shape[1], threshold, predictor(loaded))
