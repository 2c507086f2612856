"""Grad-CAM: where in a cell the evidence for its call lies.

Selvaraju et al.: Grad-CAM: visual explanations from deep networks via gradient-based localization
(ICCV 2017).
"""

import cv2
import keras
import numpy as np
import pandas as pd

from malaria.explanation.gradients import gradients_at
from malaria.models.base.saved import split_at

BATCH = 32
PLACES = 7  # per side, as in the last layers of networks for 224 pixels


def feature_layer(model: keras.Model) -> keras.layers.Layer:
    """Return the last layer that all paths pass and whose output is a map with enough places.

    The article takes the last map, which has 2 x 2 places in a ResNet for 64 pixels. In the pilot's
    validation cells that ResNet-18 calls parasitized, hiding the hottest part of that map cost .18
    of the logit, the hottest part of this layer's map 4.70, and the average part .38.
    """
    return next(
        layer
        for layer in reversed(model.layers)
        if len(layer.output.shape) == 4
        and layer.output.shape[1] >= PLACES
        and not isinstance(layer, keras.layers.MaxPooling2D)
        and _carries_all(model, layer)
    )


def heat_maps(model: keras.Model, images: np.ndarray, cells: pd.DataFrame) -> np.ndarray:
    """Return a map of each cell, float32 (len(cells), S, S) from 0 to 1.

    `cells` has the columns row (of `images`, uint8 (N, S, S, 3)) and called. A map is the positive
    part of the features' weighted sum; the weight of a feature is the mean gradient of the logit
    with respect to it. A high logit means parasitized, so the sign is reversed for cells called
    uninfected: every map is evidence for the call. It is stretched over the image, a little too
    far if convolutions are unpadded, and divided by its largest value; a map of zeros stays zero.
    """
    layer = feature_layer(model).name
    size = images.shape[1]
    found = np.zeros((len(cells), size, size), dtype="float32")
    for start in range(0, len(cells), BATCH):
        batch = slice(start, start + BATCH)
        chosen = cells.iloc[batch]
        features, gradients = gradients_at(model, layer, np.asarray(images[chosen["row"]]))
        sign = np.where(chosen["called"] == 1, 1, -1)[:, None]
        weights = sign * gradients.mean(axis=(1, 2))
        coarse = np.maximum(np.einsum("nhwc,nc->nhw", features, weights), 0)
        found[batch] = [cv2.resize(heat, (size, size)) for heat in coarse]
    largest = found.max(axis=(1, 2), keepdims=True, initial=0)
    return found / np.where(largest > 0, largest, 1)


def describe_maps(model: keras.Model) -> str:
    """Return the layer that the maps are from, and how coarse they are."""
    layer = feature_layer(model)
    height, width = layer.output.shape[1:3]
    return f"Grad-CAM of {layer.name}, {height} x {width}"


def _carries_all(model: keras.Model, layer: keras.layers.Layer) -> bool:
    """Return whether everything that the logit takes from the image passes the layer."""
    try:
        split_at(model, layer.name)
    except ValueError:  # the head would need another input
        return False
    return True
