"""vgg19_frozen: a frozen VGG19 below the first article's head."""

from dataclasses import replace

import keras

from malaria.models.base.layers import article_head
from malaria.models.base.recipe import ARTICLE_1
from malaria.models.base.system import System
from malaria.models.base.vgg import END, GROUPS, SMALLEST, convolutions
from malaria.models.base.weights import Weights


def features(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return VGG19's features and the article's head."""
    return article_head(convolutions(keras.applications.VGG19, image, weights))


RECIPE = replace(ARTICLE_1, optimizer="rmsprop", learning_rate=1e-4)
SYSTEM = System("the first article (VGG19 study)", features, RECIPE, GROUPS, END, smallest=SMALLEST)
