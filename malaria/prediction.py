"""Logits of a saved model."""

from collections.abc import Callable

import keras
import numpy as np
from tqdm import tqdm

from malaria.batches import Batches
from malaria.errors import MalariaError
from malaria.modelfile import logit_model

BATCH = 128


def predict_logits(model: keras.Model, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the float64 logits (len(rows),) of the chosen rows of uint8 (N, S, S, 3) images.

    Raises MalariaError for images of another size than the model takes, and for logits that are
    not finite.
    """
    return predictor(model)(images, rows)


def predictor(model: keras.Model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return `predict_logits` of the model, which is compiled once for several arrays of images."""
    logits = logit_model(model)
    return lambda images, rows: _predict(logits, images, rows)


def _predict(logits: keras.Model, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if logits.input_shape[1:] != images.shape[1:]:
        raise MalariaError(
            f"the model takes images of {_size(logits.input_shape[1:])}, but these have "
            f"{_size(images.shape[1:])}; train it on images of preprocess.size."
        )
    batches = Batches(images, rows, BATCH)
    parts = [
        logits.predict_on_batch(batches[index][0])[:, 0]
        for index in tqdm(range(len(batches)), unit="batch", desc="predict", disable=None)
    ]
    found = np.concatenate(parts).astype("float64")
    broken = int((~np.isfinite(found)).sum())
    if broken:
        raise MalariaError(
            f"the model gives {broken} of {len(found)} cells no finite logit; train it again with "
            "a lower train.learning_rate or in float32."
        )
    return found


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
