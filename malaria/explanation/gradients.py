"""Gradients inside a model, which keras.ops does not have.

Only this module and malaria/training/backend.py know which backend Keras runs on.
"""

import keras
import numpy as np

from malaria.errors import MalariaError
from malaria.models.base.saved import split_at


def gradients_at(
    model: keras.Model, layer: str, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the output of a layer and the gradient of each image's logit with respect to it.

    Both are float32 and have the output's shape; `images` is uint8 (B, S, S, 3). Everything that
    the logit takes from the image must pass the layer. Raises MalariaError for a backend other
    than TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise MalariaError(
            f"Keras' backend is {backend!r}, but gradients need 'tensorflow' or 'jax'; set "
            "KERAS_BACKEND to one of them."
        )
    body, head = split_at(model, layer)
    features = body(images, training=False)
    # A cell's logit depends only on its features, so the gradient of the sum is each cell's.
    gradients = (_by_tensorflow if backend == "tensorflow" else _by_jax)(head, features)
    return _float32(features), _float32(gradients)


def _by_tensorflow(head: keras.Model, features: keras.KerasTensor) -> keras.KerasTensor:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = head(features, training=False)
    return tape.gradient(logits, features)


def _by_jax(head: keras.Model, features: keras.KerasTensor) -> keras.KerasTensor:
    import jax

    return jax.grad(lambda inside: head(inside, training=False).sum())(features)


def _float32(values: keras.KerasTensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(values, "float32"))
