"""Gradients inside a model, which keras.ops does not give.

Beside malaria/backend.py the only module that knows which backend Keras runs on.
"""

import keras
import numpy as np

from malaria.errors import MalariaError
from malaria.models import split_at


def gradients_at(
    model: keras.Model, layer: str, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the output of a layer and the gradient of each image's logit with respect to it.

    Both are float32 and have the output's shape; `images` is uint8 (B, S, S, 3). All that the
    logit takes from the image has to pass the layer. Raises MalariaError for a backend other than
    TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise MalariaError(
            f"Keras' backend is {backend!r}, but gradients are taken with 'tensorflow' or 'jax' "
            "alone; set KERAS_BACKEND to one of them."
        )
    body, head = split_at(model, layer)
    features = body(images, training=False)
    # A cell's logit depends on its own features alone, so the gradient of the sum is each one's.
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
