"""The articles' models: uint8 RGB in, probability of 'parasitized' out.

Every model ends in a layer `logit` (float32) and its sigmoid `probability`, and carries its
own preprocessing, so a saved model needs nothing but Keras and an image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from malaria import resnets, small_cnns, vgg
from malaria.errors import MalariaError
from malaria.modelfile import LOGIT
from malaria.weights import Weights

Features = Callable[[keras.KerasTensor, Weights], keras.KerasTensor]


@dataclass(frozen=True)
class Architecture:
    """A model's layers up to its logit, and the body of it that was trained elsewhere.

    `groups` are the body's parts, each by the beginnings of its layers' names, from the image on;
    all other layers are the head.
    """

    features: Features
    groups: tuple[tuple[str, ...], ...] = ()
    frozen_until: str | None = None  # last layer of a body that is never trained
    two_classes: bool = False  # the logit is the difference of the two of a softmax
    smallest: int = 16  # pixels a side that its layers leave anything of

    @property
    def pretrained(self) -> bool:
        """Whether it has a body."""
        return bool(self.groups)


VGG_SMALLEST = 32  # five poolings by two
VGG_GROUPS = (("block1", "block2", "block3"), ("block4", "block5"))
RESNET_GROUPS = (("conv1", "pool1", "stack0", "stack1"), ("stack2", "stack3"))  # as fastai cuts
ARCHITECTURES = {
    "basic_cnn": Architecture(small_cnns.basic_cnn),
    "vgg19_frozen": Architecture(
        vgg.vgg19_frozen, VGG_GROUPS, frozen_until="block5_pool", smallest=VGG_SMALLEST
    ),
    "vgg19_finetuned": Architecture(vgg.vgg19_finetuned, VGG_GROUPS, smallest=VGG_SMALLEST),
    "resnet18": Architecture(resnets.resnet18, RESNET_GROUPS),
    "resnet34": Architecture(resnets.resnet34, RESNET_GROUPS),
    "resnet50": Architecture(resnets.resnet50, RESNET_GROUPS),
    "resnet_preact": Architecture(resnets.resnet_preact),
    "cnn_base": Architecture(small_cnns.cnn_base, two_classes=True, smallest=18),
    "cnn_leaky": Architecture(small_cnns.cnn_leaky, two_classes=True),
    "cnn_se": Architecture(small_cnns.cnn_se, two_classes=True),
    "vgg16_frozen": Architecture(
        vgg.vgg16_frozen,
        VGG_GROUPS,
        frozen_until="block5_pool",
        two_classes=True,
        smallest=VGG_SMALLEST,
    ),
}


def build(name: str, size: int, weights: Weights) -> keras.Model:
    """Return the model `name` for (N, size, size, 3) uint8 RGB; its output is (N, 1) float32.

    `weights` is a file, 'imagenet' or None; models without a pre-trained body start from
    random weights whatever it is.
    Raises MalariaError where weights cannot be had or the size is too small.
    """
    architecture = ARCHITECTURES[name]
    if size < architecture.smallest:
        raise MalariaError(
            f"preprocess.size is {size}: {name} needs at least {architecture.smallest} pixels."
        )
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    features = architecture.features(image, weights)
    logit = _two_class_logit(features) if architecture.two_classes else _logit(features)
    probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
    return keras.Model(image, probability, name=name)


def _logit(features: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Dense(1, dtype="float32", name=LOGIT)(features)


def _two_class_logit(features: keras.KerasTensor) -> keras.KerasTensor:
    """Return the logit whose sigmoid is the first class's softmax: the two's difference."""
    classes = layers.Dense(2, dtype="float32", name="classes")(features)
    return layers.Subtract(dtype="float32", name=LOGIT)([classes[:, :1], classes[:, 1:]])


def split_at(model: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Return the model's body up to `layer` and its head from there to the logit."""
    features = model.get_layer(layer).output
    body = keras.Model(model.input, features, name=f"{model.name}_body")
    head = keras.Model(features, model.get_layer(LOGIT).output, name=f"{model.name}_head")
    return body, head


def group_of(model: keras.Model, layer: keras.layers.Layer) -> int:
    """Return the number of the layer's group, from the image on; the head's is the last."""
    groups = ARCHITECTURES[model.name].groups
    for number, beginnings in enumerate(groups):
        if layer.name.startswith(beginnings):
            return number
    return len(groups)
