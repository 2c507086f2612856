"""basic_cnn: three convolutions and two dense layers, the first article's own network."""

import keras
from keras import layers

from malaria.models.base.layers import article_head, scaled
from malaria.models.base.recipe import ARTICLE_1
from malaria.models.base.system import System


def features(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of three convolutions and the article's head."""
    x = scaled(image)
    for number, filters in enumerate((32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    return article_head(x)


SYSTEM = System("the first article (VGG19 study)", features, ARTICLE_1)
