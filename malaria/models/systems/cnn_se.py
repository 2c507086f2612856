"""cnn_se: four normalised convolutions with squeeze-and-excite, the notebook's best network."""

import keras
from keras import layers

from malaria.models.base.layers import activated, dense, scaled
from malaria.models.base.recipe import NOTEBOOK
from malaria.models.base.system import System

SQUEEZE = 8  # factor by which squeeze-and-excite reduces the channels


def features(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of four normalised convolutions with weighted channels."""
    x = scaled(image)
    for number, filters in enumerate((32, 64, 128, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = layers.BatchNormalization(name=f"norm{number}")(x)
        x = activated(x, number)
        if number < 3:
            x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(_squeeze_and_excite(x))
    return dense(dense(x, 128, number=1), 64, number=2)


def _squeeze_and_excite(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return each channel times a weight computed from the means of all channels.

    Hu, Shen, Sun: Squeeze-and-excitation networks (CVPR 2018).
    """
    channels = x.shape[-1]
    weight = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    weight = layers.Dense(channels // SQUEEZE, activation="relu", name="excite1")(weight)
    weight = layers.Dense(channels, activation="sigmoid", name="excite2")(weight)
    return layers.Multiply(name="weigh")([x, weight])


SYSTEM = System("the notebook", features, NOTEBOOK, two_classes=True)
