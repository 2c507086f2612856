"""vgg16_frozen: a frozen VGG16 below the notebook's head."""

import keras
from keras import layers

from malaria.models.base.layers import dense
from malaria.models.base.recipe import NOTEBOOK
from malaria.models.base.system import System
from malaria.models.base.vgg import END, GROUPS, SMALLEST, convolutions
from malaria.models.base.weights import Weights


def features(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return VGG16's features and the notebook's head."""
    body = convolutions(keras.applications.VGG16, image, weights)
    return dense(layers.GlobalAveragePooling2D(name="mean")(body), 128, number=1)


SYSTEM = System(
    "the notebook", features, NOTEBOOK, GROUPS, END, two_classes=True, smallest=SMALLEST
)
