"""resnet_preact: a small pre-activation ResNet, cited by the second article."""

from dataclasses import replace

import keras
from keras import layers, regularizers

from malaria.models.base.layers import scaled
from malaria.models.base.recipe import SHIFTED, Recipe
from malaria.models.base.system import System

L2 = 5e-4
NORMALISE = {"momentum": 0.9, "epsilon": 2e-5}  # of batch normalisation


def features(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of three stages of 3, 4 and 6 pre-activation bottlenecks.

    He et al.: Identity mappings in deep residual networks (ECCV 2016), with a stem of one 5x5
    convolution and a pooling, and L2 of 5e-4 on each kernel.
    """
    x = layers.BatchNormalization(name="image_norm", **NORMALISE)(scaled(image))
    x = _activated(_convolution(x, 64, 5, "stem_conv"), "stem")
    x = layers.ZeroPadding2D(1, name="stem_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    for stage, (blocks, filters) in enumerate(((3, 128), (4, 256), (6, 512)), start=1):
        for block in range(1, blocks + 1):
            shrinks = block == 1 and stage > 1
            x = _bottleneck(x, filters, 2 if shrinks else 1, f"stage{stage}_block{block}")
    return layers.GlobalAveragePooling2D(name="mean")(_activated(x, "last"))


def _bottleneck(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    active = _activated(x, f"{name}_1")
    y = _convolution(active, filters // 4, 1, f"{name}_1_conv")
    y = _convolution(_activated(y, f"{name}_2"), filters // 4, 3, f"{name}_2_conv", stride)
    y = _convolution(_activated(y, f"{name}_3"), filters, 1, f"{name}_3_conv")
    is_first = x.shape[-1] != filters
    shortcut = _convolution(active, filters, 1, f"{name}_shortcut", stride) if is_first else x
    return layers.Add(name=f"{name}_add")([y, shortcut])


def _activated(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(name=f"{name}_norm", **NORMALISE)(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _convolution(
    x: keras.KerasTensor, filters: int, size: int, name: str, stride: int = 1
) -> keras.KerasTensor:
    return layers.Conv2D(
        filters,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_regularizer=regularizers.L2(L2),
        name=name,
    )(x)


RECIPE = Recipe(64, 50, 32, "sgd", 0.1, "linear", replace(SHIFTED, rotation_range=20))
SYSTEM = System("cited by the second article", features, RECIPE)
