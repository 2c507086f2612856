"""VGG16 and VGG19 by Keras applications, on ImageNet's weights, a file of them or none."""

import keras
from keras import layers

from malaria.small_cnns import article_head, notebook_head
from malaria.weights import Weights, loading

IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)  # of keras.applications' VGG weights


def vgg19_finetuned(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return VGG19's features and the article's head; blocks 4 and 5 learn."""
    body = _convolutions(keras.applications.VGG19, image, weights, trainable=("block4", "block5"))
    return article_head(body)


def vgg19_frozen(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return VGG19's features and the article's head, which alone learns."""
    return article_head(_convolutions(keras.applications.VGG19, image, weights, trainable=()))


def vgg16_frozen(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return VGG16's features and the notebook's head, which alone learns."""
    return notebook_head(_convolutions(keras.applications.VGG16, image, weights, trainable=()))


def _convolutions(
    application: type, image: keras.KerasTensor, weights: Weights, trainable: tuple[str, ...]
) -> keras.KerasTensor:
    """Return a VGG's last feature map; only layers whose names start so learn."""
    name = application.__name__
    with loading(weights, f"{name} convolutions, in Keras' own layout without the top layers"):
        body = application(
            include_top=False, weights=weights, input_tensor=_expected(image, weights)
        )
    for layer in body.layers:
        layer.trainable = layer.name.startswith(trainable)
    return body.output


def _expected(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return what the weights expect: BGR minus the ImageNet mean, else RGB from 0 to 1.

    In float32, because bfloat16 cannot tell neighbouring grey values apart once the mean
    is subtracted.
    """
    if weights is None:
        return layers.Rescaling(1 / 255, dtype="float32", name="scale")(image)
    mean_rgb = IMAGENET_MEAN_BGR[::-1]
    centred = layers.Rescaling(
        1.0, offset=[-value for value in mean_rgb], dtype="float32", name="subtract_mean"
    )(image)
    return keras.ops.flip(centred, axis=-1)
