"""Logits of a saved model."""

from collections.abc import Callable

import keras
import numpy as np
from tqdm import tqdm

from malaria.errors import MalariaError
from malaria.models.base.saved import logit_model
from malaria.training.batches import Batches

BATCH = 128


def predictor(model: keras.Model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function of uint8 images (N, S, S, 3) and of rows: their float64 logits (rows,).

    The model is compiled once for all calls. A call raises MalariaError if the images do not
    have the size that the model takes, or if a logit is not finite.
    """
    logits = logit_model(model)

    def predict(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if logits.input_shape[1:] != images.shape[1:]:
            raise MalariaError(
                f"the model takes images of {_size(logits.input_shape[1:])}, but these have "
                f"{_size(images.shape[1:])}; train it on images of preprocess.size."
            )
        batches = Batches(images, rows, BATCH)
        numbers = tqdm(range(len(batches)), unit="batch", desc="predict", disable=None)
        parts = [logits.predict_on_batch(batches[number][0])[:, 0] for number in numbers]
        found = np.concatenate(parts).astype("float64")
        broken = int((~np.isfinite(found)).sum())
        if broken:
            raise MalariaError(
                f"the model gives {broken} of {len(found)} cells a logit that is not finite; train "
                "it again with a lower train.learning_rate or in float32."
            )
        return found

    return predict


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
