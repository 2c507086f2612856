"""vgg19_finetuned: VGG19 with trainable blocks 4 and 5, the first article's best network."""

from dataclasses import replace

import keras

from malaria.models.base.layers import article_head
from malaria.models.base.recipe import SHIFTED, Recipe
from malaria.models.base.system import System
from malaria.models.base.vgg import GROUPS, SMALLEST, convolutions
from malaria.models.base.weights import Weights


def features(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return VGG19's features and the article's head."""
    body = convolutions(keras.applications.VGG19, image, weights, trainable=("block4", "block5"))
    return article_head(body)


RECIPE = Recipe(125, 25, 64, "rmsprop", 1e-5, "constant", replace(SHIFTED, rotation_range=25))
SYSTEM = System("the first article (VGG19 study)", features, RECIPE, GROUPS, smallest=SMALLEST)
