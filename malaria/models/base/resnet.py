"""KerasHub's ResNets, pre-trained or not, under fastai's head."""

import warnings

import keras
from keras import layers

from malaria.errors import MalariaError
from malaria.models.base.weights import IMAGENET, VGG16, Weights, loading

TIMM = "hf://timm/{name}.a1_in1k"  # on Hugging Face
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB from 0 to 1, for timm's weights
IMAGENET_STD = (0.229, 0.224, 0.225)
NORMALISE_HEAD = {"momentum": 0.9, "epsilon": 1e-5}  # PyTorch's, so fastai's
GROUPS = (("conv1", "pool1", "stack0", "stack1"), ("stack2", "stack3"))  # as fastai cuts


def features(
    image: keras.KerasTensor, weights: Weights, *, name: str, block: str, blocks: tuple[int, ...]
) -> keras.KerasTensor:
    """Return the features of KerasHub's ResNet `name` (version 1) and fastai's head.

    `weights` is 'imagenet' (timm's, from Hugging Face), a file that KerasHub wrote
    (*.weights.h5) or None.
    """
    if weights == VGG16:
        raise MalariaError(
            f"train.weights is vgg16, but train.model {name} is a ResNet; set train.weights to "
            "imagenet or none."
        )
    try:  # imported here, because other models do not need KerasHub
        from keras_hub.models import ResNetBackbone
    except ModuleNotFoundError as error:
        raise MalariaError(
            f"train.model {name} is built by KerasHub, and the package {error.name} is not "
            "installed; run `uv sync --extra resnet`."
        ) from None

    options = {"image_shape": tuple(image.shape[1:])}
    with loading(weights, f"{name}, as KerasHub writes its *.weights.h5"):
        if weights == IMAGENET:
            backbone = ResNetBackbone.from_preset(TIMM.format(name=name), **options)
        else:
            backbone = ResNetBackbone(
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
                    # Keras only warns of a layer that is not in the file.
                    warnings.simplefilter("error", UserWarning)
                    backbone.load_weights(weights)
    # A plain copy on our image: the saved model needs no KerasHub, and no layer is used twice.
    normal = layers.Normalization(
        mean=[255 * value for value in IMAGENET_MEAN],
        variance=[(255 * value) ** 2 for value in IMAGENET_STD],
        dtype="float32",
        name="normalise",
    )(image)
    on_image = keras.Model(image, backbone.call(normal))
    copy = keras.models.clone_model(on_image, input_tensors=image)
    copy.set_weights(on_image.get_weights())
    return _fastai_head(copy.output)


def _fastai_head(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the features of the head that fastai (version 1) puts on a body."""
    largest = layers.GlobalMaxPooling2D(name="largest")(x)
    mean = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Concatenate(name="pooled")([largest, mean])
    x = layers.BatchNormalization(name="pooled_norm", **NORMALISE_HEAD)(x)
    x = layers.Dropout(0.25, name="dropout1")(x)
    x = layers.Dense(512, activation="relu", name="dense1")(x)
    x = layers.BatchNormalization(name="dense_norm", **NORMALISE_HEAD)(x)
    return layers.Dropout(0.5, name="dropout2")(x)
