"""cnn_base: three unpadded convolutions, the notebook's first network."""

import keras
from keras import layers

from malaria.models.base.layers import scaled
from malaria.models.base.recipe import NOTEBOOK
from malaria.models.base.system import System


def features(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of three unpadded convolutions and a dense layer."""
    x = scaled(image)
    for number, filters in enumerate((32, 64, 64), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{number}")(x)
        if number < 3:
            x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Dense(64, activation="relu", name="dense1")(x)


# 'parasitized' is the first class of its softmax.
SYSTEM = System("the notebook", features, NOTEBOOK, two_classes=True, smallest=18)
