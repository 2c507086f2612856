"""The convolutions of Keras' VGG16 and VGG19, pre-trained or not."""

import keras
from keras import layers

from malaria.models.base.vgg16 import start_from_vgg16
from malaria.models.base.weights import VGG16, Weights, loading

IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)  # of keras.applications' VGG weights
GROUPS = (("block1", "block2", "block3"), ("block4", "block5"))
END = "block5_pool"
SMALLEST = 32  # five poolings by two


def convolutions(
    application: type, image: keras.KerasTensor, weights: Weights, trainable: tuple[str, ...] = ()
) -> keras.KerasTensor:
    """Return a VGG's last feature map; only layers whose names start with `trainable` learn."""
    name = application.__name__
    with loading(weights, f"{name} convolutions, in Keras' own layout without the top layers"):
        body = application(
            include_top=False,
            weights=None if weights == VGG16 else weights,
            input_tensor=_expected(image, weights),
        )
        if weights == VGG16:
            start_from_vgg16(body)
    for layer in body.layers:
        layer.trainable = layer.name.startswith(trainable)
    return body.output


def _expected(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    """Return what the weights expect: BGR minus the ImageNet mean; without weights, RGB 0 to 1.

    In float32: once the mean is subtracted, bfloat16 cannot tell neighbouring grey values apart.
    """
    if weights is None:
        return layers.Rescaling(1 / 255, dtype="float32", name="scale")(image)
    offset = [-value for value in reversed(IMAGENET_MEAN_BGR)]
    centred = layers.Rescaling(1.0, offset=offset, dtype="float32", name="subtract_mean")(image)
    return keras.ops.flip(centred, axis=-1)
