"""cnn_leaky: three convolutions with leaky ReLU and swish, the notebook's smallest network."""

import keras
from keras import layers

from malaria.models.base.layers import activated, dense, scaled
from malaria.models.base.recipe import NOTEBOOK
from malaria.models.base.system import System


def features(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of three convolutions and a dense layer."""
    x = scaled(image)
    for number, filters in enumerate((32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = activated(x, number)
        if number < 3:
            x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return dense(x, 128, number=1)


# Also published with horizontal_flip, brightness_delta .2 and contrast_range [.7, 1.3].
SYSTEM = System("the notebook", features, NOTEBOOK, two_classes=True)
