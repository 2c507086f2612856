"""resnet18: ResNet-18 below fastai's head, of the second article."""

from dataclasses import replace
from functools import partial

from malaria.models.base.recipe import FASTAI
from malaria.models.base.resnet import GROUPS, features
from malaria.models.base.system import System

SYSTEM = System(
    "the second article (fastai)",
    partial(features, name="resnet18", block="basic_block", blocks=(2, 2, 2, 2)),
    replace(FASTAI, batch_size=512),
    GROUPS,
)
