"""The small networks: the first article's basic_cnn and the notebook's cnn_base, _leaky, _se.

The notebook's end in a softmax of two classes, whose first is 'parasitized'.
"""

import keras
from keras import layers

SQUEEZE = 8  # of the channels, in squeeze-and-excite


def basic_cnn(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of three convolutions and the first article's head."""
    x = scaled(image)
    for number, filters in enumerate((32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    return article_head(x)


def cnn_base(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of three unpadded convolutions and a dense layer."""
    x = scaled(image)
    for number, filters in enumerate((32, 64, 64), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{number}")(x)
        if number < 3:
            x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Dense(64, activation="relu", name="dense1")(x)


def cnn_leaky(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of three convolutions with leaky ReLU and swish."""
    x = scaled(image)
    for number, filters in enumerate((32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = _swish(x, number) if number == 2 else _leaky(x, number)
        if number < 3:
            x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return _dense(x, 128, number=1)


def cnn_se(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of four normalised convolutions, their channels weighted."""
    x = scaled(image)
    for number, filters in enumerate((32, 64, 128, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = layers.BatchNormalization(name=f"norm{number}")(x)
        x = _swish(x, number) if number == 2 else _leaky(x, number)
        if number < 3:
            x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(_squeeze_and_excite(x))
    return _dense(_dense(x, 128, number=1), 64, number=2)


def scaled(image: keras.KerasTensor) -> keras.KerasTensor:
    """Return the image from 0 to 1."""
    return layers.Rescaling(1 / 255, name="scale")(image)


def article_head(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the features of the first article's head."""
    x = layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(512, activation="relu", name=f"dense{number}")(x)
        x = layers.Dropout(0.3, name=f"dropout{number}")(x)
    return x


def notebook_head(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the features of the head of the notebook's VGG16."""
    return _dense(layers.GlobalAveragePooling2D(name="mean")(x), 128, number=1)


def _dense(x: keras.KerasTensor, units: int, number: int) -> keras.KerasTensor:
    x = layers.Dense(units, activation="relu", name=f"dense{number}")(x)
    return layers.Dropout(0.5, name=f"dropout{number}")(x)


def _leaky(x: keras.KerasTensor, number: int) -> keras.KerasTensor:
    return layers.LeakyReLU(negative_slope=0.1, name=f"leaky{number}")(x)


def _swish(x: keras.KerasTensor, number: int) -> keras.KerasTensor:
    return layers.Activation("swish", name=f"swish{number}")(x)


def _squeeze_and_excite(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the channels times a weight of each that follows from all of their means.

    Hu, Shen, Sun: Squeeze-and-excitation networks (CVPR 2018).
    """
    channels = x.shape[-1]
    weight = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    weight = layers.Dense(channels // SQUEEZE, activation="relu", name="excite1")(weight)
    weight = layers.Dense(channels, activation="sigmoid", name="excite2")(weight)
    return layers.Multiply(name="weigh")([x, weight])
