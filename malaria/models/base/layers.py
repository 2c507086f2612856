"""Layers that several networks share."""

import keras
from keras import layers


def scaled(image: keras.KerasTensor) -> keras.KerasTensor:
    """Return the image scaled to 0 to 1."""
    return layers.Rescaling(1 / 255, name="scale")(image)


def article_head(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the features of the first article's head."""
    x = layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(512, activation="relu", name=f"dense{number}")(x)
        x = layers.Dropout(0.3, name=f"dropout{number}")(x)
    return x


def dense(x: keras.KerasTensor, units: int, number: int) -> keras.KerasTensor:
    """Return one of the notebook's dense layers, with its dropout."""
    x = layers.Dense(units, activation="relu", name=f"dense{number}")(x)
    return layers.Dropout(0.5, name=f"dropout{number}")(x)


def activated(x: keras.KerasTensor, number: int) -> keras.KerasTensor:
    """Return the notebook's activation: swish after its second convolution, else leaky ReLU."""
    if number == 2:
        return layers.Activation("swish", name="swish2")(x)
    return layers.LeakyReLU(negative_slope=0.1, name=f"leaky{number}")(x)
