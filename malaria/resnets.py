"""ResNet-18, -34 and -50 by KerasHub, and the small pre-activation ResNet."""

import warnings

import keras
from keras import layers, regularizers

from malaria.weights import IMAGENET, Weights, loading

TIMM = "hf://timm/{name}.a1_in1k"  # on Hugging Face
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB from 0 to 1, for timm's weights
IMAGENET_STD = (0.229, 0.224, 0.225)
L2 = 5e-4
NORMALISE = {"momentum": 0.9, "epsilon": 2e-5}  # of the small ResNet's batch normalisation
NORMALISE_HEAD = {"momentum": 0.9, "epsilon": 1e-5}  # PyTorch's, so fastai's


def resnet18(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return ResNet-18's features and fastai's head."""
    return _fastai_head(_pretrained(image, weights, "resnet18", "basic_block", (2, 2, 2, 2)))


def resnet34(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return ResNet-34's features and fastai's head."""
    return _fastai_head(_pretrained(image, weights, "resnet34", "basic_block", (3, 4, 6, 3)))


def resnet50(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return ResNet-50's features and fastai's head."""
    return _fastai_head(_pretrained(image, weights, "resnet50", "bottleneck_block", (3, 4, 6, 3)))


def resnet_preact(image: keras.KerasTensor, weights: object) -> keras.KerasTensor:
    """Return the features of stages of 3, 4 and 6 pre-activation bottlenecks.

    He et al.: Identity mappings in deep residual networks (ECCV 2016), with a stem of one 5x5
    convolution and a pooling, L2 of 5e-4 on each kernel.
    """
    x = layers.BatchNormalization(name="image_norm", **NORMALISE)(
        layers.Rescaling(1 / 255, name="scale")(image)
    )
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


def _pretrained(
    image: keras.KerasTensor, weights: Weights, name: str, block: str, blocks: tuple[int, ...]
) -> keras.KerasTensor:
    """Return the last feature map of KerasHub's ResNet `name` of the first version.

    `weights` is 'imagenet' (timm's, from Hugging Face), a file that KerasHub wrote
    (*.weights.h5) or None.
    """
    from keras_hub.models import ResNetBackbone  # here, because it costs other models a second

    options = {"image_shape": tuple(image.shape[1:])}
    with loading(weights, f"{name}, as KerasHub writes its *.weights.h5"):
        if weights == IMAGENET:
            body = ResNetBackbone.from_preset(TIMM.format(name=name), **options)
        else:
            body = ResNetBackbone(
                input_conv_filters=[64],
                input_conv_kernel_sizes=[7],
                stackwise_num_filters=[64, 128, 256, 512],
                stackwise_num_blocks=list(blocks),
                stackwise_num_strides=[1, 2, 2, 2],
                block_type=block,
                **options,
            )
            if weights is not None:
                with warnings.catch_warnings():
                    # Of a layer that the file does not have, Keras only warns.
                    warnings.simplefilter("error", UserWarning)
                    body.load_weights(weights)
    # A plain copy on our image: a saved model needs no KerasHub, and each layer has one place.
    normal = layers.Normalization(
        mean=[255 * value for value in IMAGENET_MEAN],
        variance=[(255 * value) ** 2 for value in IMAGENET_STD],
        dtype="float32",
        name="normalise",
    )(image)
    on_image = keras.Model(image, body.call(normal))
    copy = keras.models.clone_model(on_image, input_tensors=image)
    copy.set_weights(on_image.get_weights())
    return copy.output


def _fastai_head(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the features of the head that fastai (version 1) puts on a body."""
    x = layers.Concatenate(name="pooled")(
        [
            layers.GlobalMaxPooling2D(name="largest")(x),
            layers.GlobalAveragePooling2D(name="mean")(x),
        ]
    )
    x = layers.BatchNormalization(name="pooled_norm", **NORMALISE_HEAD)(x)
    x = layers.Dropout(0.25, name="dropout1")(x)
    x = layers.Dense(512, activation="relu", name="dense1")(x)
    x = layers.BatchNormalization(name="dense_norm", **NORMALISE_HEAD)(x)
    return layers.Dropout(0.5, name="dropout2")(x)
