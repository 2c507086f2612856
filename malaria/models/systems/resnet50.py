"""resnet50: ResNet-50 below fastai's head, of the second article."""

from functools import partial

from malaria.models.base.recipe import FASTAI
from malaria.models.base.resnet import GROUPS, features
from malaria.models.base.system import System

# The article does not give its batch size.
SYSTEM = System(
    "the second article (fastai)",
    partial(features, name="resnet50", block="bottleneck_block", blocks=(3, 4, 6, 3)),
    FASTAI,
    GROUPS,
)
