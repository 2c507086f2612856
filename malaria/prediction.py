"""Logits and probabilities of a saved model."""

import keras
import numpy as np
import pandas as pd
from scipy.special import expit
from tqdm import tqdm

from malaria.batches import Batches
from malaria.modelfile import logit_model

BATCH = 128


def predict_logits(model: keras.Model, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the float64 logits (len(rows),) of the chosen rows of uint8 (N, S, S, 3) images."""
    logits = logit_model(model)
    batches = Batches(images, rows, BATCH)
    parts = [
        logits.predict_on_batch(batches[index][0])[:, 0]
        for index in tqdm(range(len(batches)), unit="batch", desc="predict", disable=None)
    ]
    return np.concatenate(parts).astype("float64")


def with_probabilities(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with the probability of 'parasitized' that their `logit` stands for."""
    return cells.assign(probability=expit(cells["logit"]))
