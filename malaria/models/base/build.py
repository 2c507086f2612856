"""Models of the systems: uint8 RGB in, probability of 'parasitized' out.

Every model ends in a layer `logit` (float32) and its sigmoid `probability`, and contains its
own preprocessing, so a saved model needs only Keras and an image.
"""

import keras
from keras import layers

from malaria.errors import MalariaError
from malaria.models.base.saved import LOGIT
from malaria.models.base.system import find_system
from malaria.models.base.weights import Weights


def build(name: str, size: int, weights: Weights) -> keras.Model:
    """Return the model `name` for (N, size, size, 3) uint8 RGB; its output is (N, 1) float32.

    `weights` is a file, 'imagenet', 'vgg16' or None; systems without a pre-trained body ignore it.
    Raises MalariaError if weights are not available or the size is too small.
    """
    system = find_system(name)
    if size < system.smallest:
        raise MalariaError(
            f"preprocess.size is {size}: {name} needs at least {system.smallest} pixels."
        )
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    features = system.features(image, weights)
    if system.two_classes:  # a softmax's probability of one class is the sigmoid of the difference
        classes = layers.Dense(2, dtype="float32", name="classes")(features)
        logit = layers.Subtract(dtype="float32", name=LOGIT)([classes[:, :1], classes[:, 1:]])
    else:
        logit = layers.Dense(1, dtype="float32", name=LOGIT)(features)
    probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
    return keras.Model(image, probability, name=name)


def group_of(model: keras.Model, layer: keras.layers.Layer) -> int:
    """Return the number of the layer's group, counted from the image; the head's is the last."""
    groups = find_system(model.name).groups
    for number, beginnings in enumerate(groups):
        if layer.name.startswith(beginnings):
            return number
    return len(groups)
