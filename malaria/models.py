"""The articles' models: uint8 RGB in, probability of 'parasitized' out.

Every model ends in a layer `logit` (Dense 1, float32) and its sigmoid `probability`, and
carries its own preprocessing, so a saved model needs nothing but an image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers

from malaria.errors import MalariaError
from malaria.modelfile import LOGIT

IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)  # of keras.applications' VGG weights
VGG_SHRINKS = 32  # five poolings by two
Weights = Path | str | None


@dataclass(frozen=True)
class Architecture:
    """A model's layers, and whether it has a body that is trained elsewhere."""

    build: Callable[[keras.KerasTensor, Weights], keras.KerasTensor]
    pretrained: bool = False
    frozen_until: str | None = None  # last layer of the body that is never trained


def build(name: str, size: int, weights: Weights) -> keras.Model:
    """Return the model `name` for (N, size, size, 3) uint8 RGB; its output is (N, 1) float32.

    `weights` is a file, 'imagenet' or None, as keras.applications takes it; models
    without a pre-trained body start from random weights whatever it is.
    Raises MalariaError where weights cannot be had or the size is too small.
    """
    architecture = ARCHITECTURES[name]
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    features = architecture.build(image, weights)
    logit = layers.Dense(1, dtype="float32", name=LOGIT)(features)
    probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
    return keras.Model(image, probability, name=name)


def split_at(model: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Return the model's body up to `layer` and its head from there to the logit."""
    features = model.get_layer(layer).output
    body = keras.Model(model.input, features, name=f"{model.name}_body")
    head = keras.Model(features, model.get_layer(LOGIT).output, name=f"{model.name}_head")
    return body, head


def _basic_cnn(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    x = layers.Rescaling(1 / 255, name="scale")(image)
    for number, filters in enumerate((32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    return _article_head(x)


def _vgg19(image: keras.KerasTensor, weights: Weights, trainable: tuple[str, ...]) -> keras.Model:
    """Return VGG19's convolutions on `image`; only layers whose names start so learn."""
    if image.shape[1] < VGG_SHRINKS:
        raise MalariaError(
            f"preprocess.size is {image.shape[1]}: VGG19 halves an image five times and needs "
            f"at least {VGG_SHRINKS} pixels."
        )
    try:
        body = keras.applications.VGG19(
            include_top=False, weights=weights, input_tensor=_for_vgg(image, weights)
        )
    except Exception as error:
        if weights is None:
            raise
        raise MalariaError(_weights_fault(weights, error)) from error
    for layer in body.layers:
        layer.trainable = layer.name.startswith(trainable)
    return body


def _for_vgg(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
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


def _weights_fault(weights: Weights, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    if weights == "imagenet":
        return (
            f"train.weights: imagenet could not be downloaded ({reason}); without network, put "
            "the file into a folder, name that folder in MALARIA_MIRROR and set train.weights to "
            "sha256:<its hash>, or run the demo: `uv run dvc repro demo/dvc.yaml`."
        )
    return (
        f"train.weights: {weights} does not hold VGG19 convolutions ({reason}); "
        "give a file in Keras' own layout without the top layers."
    )


def _vgg19_finetuned(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    return _article_head(_vgg19(image, weights, trainable=("block4", "block5")).output)


def _vgg19_frozen(image: keras.KerasTensor, weights: Weights) -> keras.KerasTensor:
    return _article_head(_vgg19(image, weights, trainable=()).output)


def _article_head(x: keras.KerasTensor) -> keras.KerasTensor:
    x = layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(512, activation="relu", name=f"dense{number}")(x)
        x = layers.Dropout(0.3, name=f"dropout{number}")(x)
    return x


ARCHITECTURES = {
    "basic_cnn": Architecture(_basic_cnn),
    "vgg19_frozen": Architecture(_vgg19_frozen, pretrained=True, frozen_until="block5_pool"),
    "vgg19_finetuned": Architecture(_vgg19_finetuned, pretrained=True),
}
